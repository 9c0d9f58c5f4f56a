"""A machine at one moment as a flat table: a key and a text for everything the page can show.

Two moments are then compared, and the second told by what is different in it, whatever it is.
The first letters of a key say where on the page it belongs:

    r. f. s. k.     general registers, flags, segments, control registers
    c. x.           counters; exits by their reasons
    q0. q1. ...     virtqueues: d.N a.N u.N descriptors and slots, the rest by name
    d0. d1. ...     devices: their registers, and what is behind them
    at instruction console      line of the source, instruction, characters printed
"""

from __future__ import annotations

from collections.abc import Iterator

from toyvisor.debug.counters import Counters
from toyvisor.debug.views.devices import DeviceView
from toyvisor.debug.views.registers import RegistersView
from toyvisor.debug.views.virtqueue import AvailEntry, DescriptorRow, UsedEntry, VirtqueueView

Facts = Iterator[tuple[str, str]]

#: Flags that are shown, set or not.
_FLAGS = ("CF", "PF", "AF", "ZF", "SF", "IF", "DF", "OF")
#: Between the parts of one text.
TAB = "\t"


def register_facts(view: RegistersView) -> Facts:
    """Registers by name, in hexadecimal digits."""
    yield "mode", f"{view.mode} mode, {view.code_bits}-bit code, level {view.cpl}"
    for register in (*view.general, view.ip):
        yield f"r.{register.name}", register.text
    yield f"r.{view.flags.name}", f"{view.flags.value:08x}"  # what is above is reserved
    for flag in view.flag_bits:
        if flag.name in _FLAGS:
            yield f"f.{flag.name}", str(flag.value)
    for segment in view.segments:
        yield f"s.{segment.name}", f"{segment.selector:04x} base {segment.base:x}"
    for table in view.tables:
        yield f"s.{table.name}", f"{table.base:x} limit {table.limit:x}"
    for register in view.control:
        yield f"k.{register.name}", register.text


def counter_facts(counters: Counters, *, open_exit: bool, sent: int) -> Facts:
    """What has been counted. `open_exit`: nobody knows yet whether the last exit goes to QEMU."""
    yield "c.vmexits", f"{counters.total_exits:,}"
    yield "c.went to QEMU", f"{counters.userspace:,}"
    yield "c.ended in KVM", f"{counters.lightweight - open_exit:,}"
    yield "c.copies", f"{counters.copy_count:,}{TAB}{counters.bytes_copied:,} bytes"
    for hop, (count, size) in counters.copies.items():
        yield f"c.copies {hop}", f"{count:,}{TAB}{size:,} bytes"
    yield "c.interrupts injected", f"{counters.injected:,}"
    if counters.suppressed:
        yield "c.notifications not wanted", f"{counters.suppressed:,}"
    if counters.context_switches:
        yield "c.context switches", f"{counters.context_switches:,}"
    if sent:
        yield "c.packets sent", f"{sent:,}"
    for name, count in counters.syscalls.items():
        yield f"c.system call {name}", f"{count:,}"
    for reason, count in counters.exits.items():
        yield f"x.{reason}", f"{count:,}"


def queue_facts(number: int, view: VirtqueueView) -> Facts:
    """A virtqueue that the driver has set up."""
    key = f"q{number}."
    if not view.size or view.problem:
        if view.problem and view.ready:
            yield f"{key}problem", view.problem
        return
    yield f"{key}ready", "yes" if view.ready else "no"
    yield f"{key}size", str(view.size)
    if view.served_by:
        yield f"{key}served by", view.served_by
    state, seen = view.device_state, view.driver_seen
    yield f"{key}given", str(view.avail.idx)
    yield f"{key}taken", _count(state.last_avail)
    yield f"{key}given back", str(view.used.idx)
    mark = "~" if seen.is_inferred and seen.position is not None else ""
    yield f"{key}seen", mark + _count(seen.position)
    yield f"{key}avail.flags", view.avail.flag_names
    yield f"{key}used.flags", view.used.flag_names
    if view.avail.used_event is not None:
        yield f"{key}used_event", str(view.avail.used_event)
    if view.used.avail_event is not None:
        yield f"{key}avail_event", str(view.used.avail_event)
    for one in view.descriptors:
        if one.addr or one.length:
            yield f"{key}d.{one.index}", _descriptor(one)
    for entry in view.avail.entries:
        if entry.position is not None or _pointer(entry):
            yield f"{key}a.{entry.slot}", _slot(entry, str(entry.head))
    for used in view.used.entries:
        if used.position is not None or _pointer(used):
            yield f"{key}u.{used.slot}", _slot(used, f"{used.id} len {used.length}")


def device_facts(number: int, view: DeviceView) -> Facts:
    """A device's registers that have a value, and the facts behind them."""
    for row in view.registers:
        if row.value is not None or row.text != "write-only":
            yield f"d{number}.{row.key}", row.text
    for fact in view.facts:
        yield f"d{number}.({fact.name})", fact.text


def _count(value: int | None) -> str:
    return "?" if value is None else str(value)


def _descriptor(one: DescriptorRow) -> str:
    follows = str(one.next) if "NEXT" in one.flag_names else ""
    flags = one.flag_names.replace("|", " ")
    table = f"{len(one.indirect)} in its table" if one.indirect else ""
    parts = (f"{one.addr:x}", str(one.length), flags, follows, str(one.owner), table)
    return TAB.join(parts)


def _slot(entry: AvailEntry | UsedEntry, text: str) -> str:
    shown = text if entry.position is not None else ""
    return TAB.join((shown, str(entry.owner), _pointer(entry)))


def _pointer(entry: AvailEntry | UsedEntry) -> str:
    """Who comes to this slot next."""
    who = [
        name
        for name, is_next in (
            ("driver", entry.is_next_for_driver),
            ("device", entry.is_next_for_device),
        )
        if is_next
    ]
    return " and ".join(who)
