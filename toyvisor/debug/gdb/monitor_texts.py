"""What the monitor commands print: the debugger's views, as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toyvisor.debug.session import Session
from toyvisor.trace.jsonl import to_dict
from toyvisor.trace.text import to_text

_FRAME_SHOWN = 32
_DESCRIPTORS_SHOWN = 32


def where(session: Session) -> str:
    """The moment, and the source line."""
    moment = session.moment
    inside = "" if moment.between else ", inside an exit"
    branch = f", {session.branch} changes deep" if session.branch else ""
    lines = [f"instruction {moment.instructions:,}, event {moment.events:,}{inside}{branch}"]
    line = session.line()
    if line is not None:
        lines.append(f"{line.location.file}:{line.location.line}: {line.text.strip()}")
    if not moment.between and moment.events:
        lines.append(to_text(to_dict(session.events[moment.events - 1])).strip())
    return "\n".join(lines)


def explained(session: Session) -> str:
    """What the debugger has to say of this moment."""
    from toyvisor.debug.explain import explain

    found = explain(session)
    return "\n".join(filter(None, (found.title, found.what, found.why, found.source)))


def last_events(session: Session, count: int) -> str:
    """The last events before this moment, the last one at the bottom."""
    end = session.moment.events
    found = session.events[max(0, end - count) : end]
    return "\n".join(to_text(to_dict(event)) for event in found) or "nothing has happened yet"


# What is counted --------------------------------------------------------------------------


def exits(session: Session) -> str:
    """As `run` counts them."""
    counters = session.counters()
    head = (
        f"{counters.total_exits:,} vmexits: {counters.userspace:,} to QEMU, "
        f"{counters.lightweight:,} in KVM"
    )
    return _joined([head, *_table([(f"{n:,}", name) for name, n in counters.exits.items()], 1)])


def copies(session: Session) -> str:
    """Hop by hop."""
    counters = session.counters()
    rows = [(f"{n:,}", f"{size:,} bytes", hop) for hop, (n, size) in counters.copies.items()]
    head = f"{counters.copy_count:,} copies, {counters.bytes_copied:,} bytes"
    return _joined([head, *_table(rows, 2)])


def ledger(session: Session) -> str:
    """Exits, copies and the rest."""
    counters = session.counters()
    rest = [
        f"{counters.injected:,} interrupts injected, {counters.suppressed:,} notifications "
        "that the driver did not want",
        f"{counters.context_switches:,} context switches",
    ]
    calls = _table([(f"{n:,}", name) for name, n in counters.syscalls.items()], 1)
    return _joined([exits(session), copies(session), "system calls", *(calls or ["  none"]), *rest])


# Devices ----------------------------------------------------------------------------------


def rings(session: Session) -> str:
    """Each virtqueue: its indices, and the descriptors that are in use."""
    from toyvisor.debug.views.virtqueue import VirtqueueView, virtqueues

    def one(queue: VirtqueueView) -> list[str]:
        state = "ready" if queue.ready else "not ready"
        served = f", served by {queue.served_by}" if queue.served_by else ""
        head = f"{queue.device} {queue.name}: {queue.size} entries, {state}{served}"
        if queue.problem or not queue.ready:
            return [head, *([f"  {queue.problem}"] if queue.problem else [])]
        device = queue.device_state
        lines = [
            head,
            f"  avail.idx {queue.avail.idx}, used.idx {queue.used.idx}; the device has taken "
            f"{device.last_avail}, has {device.in_flight} in flight",
        ]
        rows = [
            (f"desc[{row.index}]", f"{row.addr:#x}", f"{row.length:,} bytes", row.flag_names,
             f"next {row.next}" if "NEXT" in row.flag_names else "", str(row.owner))
            for row in queue.descriptors
            if row.length or row.head is not None
        ]  # fmt: skip
        rest = len(rows) - _DESCRIPTORS_SHOWN
        more = [f"  ... and {rest} more descriptors"] if rest > 0 else []
        return [*lines, *_table(rows[:_DESCRIPTORS_SHOWN]), *more]

    found = [line for queue in virtqueues(session.machine) for line in one(queue)]
    return _joined(found) or "there is no virtio device"


def devices(session: Session) -> str:
    """Registers by name with what they say, and what is behind them."""
    from toyvisor.debug.views.devices import devices as device_views

    lines: list[str] = []
    for device in device_views(session.machine):
        lines.append(f"{device.name}: {device.where}")
        lines += _table((row.name, row.text) for row in device.registers)
        lines += _table((fact.name, fact.text) for fact in device.facts)
    return _joined(lines) or "there is no device"


def pic(session: Session) -> str:
    """The way of an interrupt: lines, chips, the processor's flag, the table of vectors."""
    from toyvisor.debug.views.interrupts import interrupts

    view = interrupts(session.machine, session.program)
    lines = [f"IF {int(view.interrupts_enabled)}" + (", asleep in HLT" if view.asleep else "")]
    for chip in view.chips:
        lines.append(
            f"{chip.name}: IRR {chip.irr:02x} IMR {chip.imr:02x} ISR {chip.isr:02x}, "
            f"vectors from {chip.vector_base:#x}"
        )
    lines += _table(
        (f"IRQ {row.irq}", row.device, row.why_not or "reaches the guest")
        for row in view.lines
        if row.device or row.is_requested or row.is_in_service
    )
    if view.pit is not None and view.pit.in_instructions is not None:
        lines.append(f"timer: IRQ 0 in {view.pit.in_instructions:,} instructions")
    lines.append(f"{view.table} at {view.table_base:#x}, limit {view.table_limit:#x}")
    lines += _table((f"{row.vector:#x}", row.name, row.label, row.problem) for row in view.vectors)
    return _joined(lines)


def console(session: Session) -> str:
    """The guest's output up to now."""
    text = session.console().decode("utf-8", "replace")
    return text or "the guest has printed nothing yet"


def packets(session: Session) -> str:
    """Number, length and beginning of each."""
    rows = [
        (f"{number}", f"{len(frame):,} bytes", frame[:_FRAME_SHOWN].hex(" ", 2))
        for number, frame in enumerate(session.sent_packets(), 1)
    ]
    return _joined(_table(rows, 2)) or "no frame was sent yet"


# Layout -----------------------------------------------------------------------------------


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _table(rows: Iterable[Sequence[str]], right: int = 0) -> list[str]:
    """Rows of cells, indented by two; the first `right` columns are aligned to the right."""
    found = [tuple(row) for row in rows]
    if not found:
        return []
    widths = [max(len(row[column]) for row in found) for column in range(len(found[0]))]
    return [
        "  " + "  ".join(
            cell.rjust(width) if column < right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in found
    ]  # fmt: skip
