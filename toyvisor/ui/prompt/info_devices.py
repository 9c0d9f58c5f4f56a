"""`info devices`, `info ring tx`, `info pic`, ...: the devices, as lines of text."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from toyvisor.errors import UsageError
from toyvisor.ui.prompt.changes import plural
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.place_text import INDENT, printable

if TYPE_CHECKING:
    from toyvisor.debug.views.interrupts import ChipView, InterruptsView, PitView
    from toyvisor.debug.views.virtqueue import DescriptorRow, VirtqueueView

_SHORT = {"tx": "transmitq", "rx": "receiveq"}


def devices(desk: Desk, _argument: str) -> None:
    """`info devices`: all of them, a line each."""
    from toyvisor.debug.views.devices import devices as views

    found = views(desk.session.machine)
    for view in found:
        level = "" if not view.level else ", interrupt line up"
        desk.say(f"{view.name}: {view.where}{level}")
    kernel = [d.type for d in desk.session.program.spec.devices if d.type in ("pic", "pit")]
    for name in kernel:
        desk.say(f"{name}: in KVM, `info {name}`")
    if not found and not kernel:
        desk.say("no devices")


def device(desk: Desk, argument: str) -> None:
    """`info device [NAME]`: its registers; the first one's if no name is given."""
    from toyvisor.debug.views.devices import device_view

    view = device_view(desk.session.machine, _device_name(desk, argument))
    assert view is not None
    desk.say(f"{view.name}: {view.where}")
    for row in view.registers:
        desk.say(f"{INDENT}{row.offset:#05x} {row.key}: {printable(row.text) or '-'}")
    for fact in view.facts:
        desk.say(f"{INDENT}{fact.name}: {printable(fact.text)}")


def _device_name(desk: Desk, argument: str) -> str:
    """The device that is meant. Raises UsageError."""
    known = list(desk.session.machine.devices)
    if not argument and known:
        return known[0]
    for name in known:
        if argument.replace("_", "-").lower() == name:
            return name
    what = f"there is no device {argument!r}" if argument else "the machine has no devices"
    raise UsageError(what, hint=f"there is {', '.join(known)}" if known else None)


def rings(desk: Desk, _argument: str) -> None:
    """`info rings`: all virtqueues, a line each."""
    for view in _queues(desk):
        desk.say(_queue_line(view))


def _queues(desk: Desk) -> tuple[VirtqueueView, ...]:
    from toyvisor.debug.views.virtqueue import virtqueues

    found = virtqueues(desk.session.machine)
    if not found:
        raise UsageError("the machine has no virtio device, and so no ring")
    return found


def _queue_line(view: VirtqueueView) -> str:
    name = f"{view.device} {view.name} (queue {view.index})"
    if view.problem:
        return f"{name}: {view.problem}"
    if not view.ready and not view.size:
        return f"{name}: not set up, at most {view.max_size} entries"
    state = view.device_state
    parts = [f"avail.idx {view.avail.idx}", f"used.idx {view.used.idx}"]
    if state.last_avail is not None:
        parts.append(f"taken up to {state.last_avail}")
        parts.append(f"{state.in_flight} in flight")
    served = f"served by {view.served_by}" if view.served_by else "served by nobody"
    ready = "ready" if view.ready else "not ready"
    return f"{name}: {ready}, {view.size} entries, {', '.join(parts)}, {served}"


def ring(desk: Desk, argument: str) -> None:
    """`info ring NAME`: one virtqueue, with its descriptors and both rings."""
    view = _queue(desk, argument)
    desk.say(_queue_line(view))
    if view.problem or not view.size:
        return
    desk.say(f"descriptor table at {view.desc_address:#x}")
    _say_rows(desk, [(row.index, _descriptor(row)) for row in view.descriptors])
    desk.say(
        f"available ring at {view.avail_address:#x}: flags {_flags(view.avail.flag_names)}, "
        f"idx {view.avail.idx}{_event('used_event', view.avail.used_event)}"
    )
    _say_rows(
        desk, [(one.slot, f"head {one.head}{_owner(one.owner)}") for one in view.avail.entries]
    )
    desk.say(
        f"used ring at {view.used_address:#x}: flags {_flags(view.used.flag_names)}, "
        f"idx {view.used.idx}{_event('avail_event', view.used.avail_event)}"
    )
    used = view.used.entries
    _say_rows(
        desk, [(one.slot, f"id {one.id} len {one.length}{_owner(one.owner)}") for one in used]
    )


def _descriptor(row: DescriptorRow) -> str:
    flags = f" {row.flag_names}" if row.flag_names else ""
    following = f" next {row.next}" if "NEXT" in row.flag_names else ""
    sure = " (probably)" if row.is_inferred else ""
    return f"addr {row.addr:#x} len {row.length}{flags}{following}: {row.owner}{sure}"


def _say_rows(desk: Desk, rows: list[tuple[int, str]]) -> None:
    """Entries by number; neighbours that are alike in one line."""
    for text, group in groupby(rows, key=lambda row: row[1]):
        numbers = [number for number, _ in group]
        name = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        desk.say(f"{INDENT}{name}: {text}")


def _queue(desk: Desk, argument: str) -> VirtqueueView:
    """`tx`, `virtio_net.tx`, `virtio-net transmitq`, or its number."""
    found = _queues(desk)
    words = argument.replace("_", "-").replace(".", " ").split()
    name = words[-1] if words else ""
    wanted = _SHORT.get(name, name)
    for view in found:
        is_device = len(words) < 2 or words[0] == view.device
        if is_device and wanted in (view.name, str(view.index)):
            return view
    known = ", ".join(f"{view.device}.{view.name}" for view in found)
    what = f"there is no ring {argument!r}" if argument else "which ring?"
    raise UsageError(what, hint=f"there is {known}")


def _flags(names: str) -> str:
    return names or "none"


def _event(name: str, value: int | None) -> str:
    return f", {name} {value}" if value is not None else ""


def _owner(owner: str) -> str:
    return f": {owner}" if owner else ""


# Interrupts -------------------------------------------------------------------------------


def _interrupts(desk: Desk) -> InterruptsView:
    from toyvisor.debug.views.interrupts import interrupts as view_of

    return view_of(desk.session.machine, desk.session.program)


def interrupts(desk: Desk, _argument: str) -> None:
    """`info interrupts`: what is asked for, and what is in its way to the guest."""
    view = _interrupts(desk)
    _processor_state(desk, view)
    for line in view.lines:
        if not line.device and not line.is_requested and not line.level:
            continue
        why = line.why_not or "nothing is in its way"
        states = ["line up" if line.level else "line down"]
        states += ["requested"] * line.is_requested + ["in service"] * line.is_in_service
        desk.say(f"IRQ {line.irq} ({line.device or 'nobody'}): {', '.join(states)}: {why}")


def _processor_state(desk: Desk, view: InterruptsView) -> None:
    asleep = ", asleep in HLT" if view.asleep else ""
    shadow = ", in the shadow of STI or MOV SS" if view.in_shadow else ""
    enabled = "on" if view.interrupts_enabled else "off"
    desk.say(f"processor: interrupts {enabled} (IF){shadow}{asleep}")
    if view.injecting:
        desk.say(view.injecting)


def pic(desk: Desk, _argument: str) -> None:
    """`info pic`: both 8259s."""
    view = _interrupts(desk)
    if not view.has_controllers:
        raise UsageError("the machine has no interrupt controllers", hint='devices = ["pic", ...]')
    for chip in view.chips:
        desk.say(_chip_line(chip))
    desk.say(f"INTR to the processor: {view.intr}")
    for line in view.lines:
        masked = "masked" if line.is_masked else "open"
        states = [masked, line.trigger, f"vector {line.vector:#x}"]
        states += ["requested"] * line.is_requested + ["in service"] * line.is_in_service
        desk.say(f"{INDENT}IRQ {line.irq} ({line.device or 'nobody'}): {', '.join(states)}")


def _chip_line(chip: ChipView) -> str:
    state = f", waits for {chip.waits_for}" if chip.waits_for else ""
    if not chip.is_initialized and not state:
        state = ", not initialized"
    modes = f", {chip.modes}" if chip.modes else ""
    return (
        f"{chip.name}: IRR {chip.irr:08b} IMR {chip.imr:08b} ISR {chip.isr:08b} "
        f"ELCR {chip.elcr:08b}, vectors from {chip.vector_base:#x}{modes}{state}"
    )


def pit(desk: Desk, _argument: str) -> None:
    """`info pit`: the three counters of the 8254."""
    view: PitView | None = _interrupts(desk).pit
    if view is None:
        raise UsageError("the machine has no timer", hint='devices = ["pic", "pit", ...]')
    for channel in view.channels:
        if channel.mode is None:
            desk.say(f"channel {channel.number} ({channel.purpose}): no mode was set")
            continue
        desk.say(
            f"channel {channel.number} ({channel.purpose}): mode {channel.mode} "
            f"({channel.mode_name}), count {channel.count}, now {channel.now}, "
            f"out {int(channel.out)}, gate {int(channel.gate)}"
        )
    if view.in_instructions is not None:
        desk.say(f"IRQ 0 in {plural(view.in_instructions, 'instruction')}")
    if view.pending:
        desk.say(f"pending: {plural(view.pending, 'tick')}")


def idt(desk: Desk, _argument: str) -> None:
    """`info idt`: the interrupt descriptor table, or real mode's vectors."""
    view = _interrupts(desk)
    desk.say(f"{view.table} at {view.table_base:#x}, limit {view.table_limit:#x}")
    for row in view.vectors:
        name = f" {row.name}" if row.name else ""
        label = f" <{row.label}>" if row.label else ""
        problem = f": {row.problem}" if row.problem else ""
        desk.say(f"{INDENT}{row.vector:#04x}{name}: {row.handler:#x}{label}, {row.type}{problem}")
    if not view.vectors:
        desk.say(f"{INDENT}no entry is present")
