"""`info registers`, `info exits`, ...: the processor, the program, and what was counted."""

from __future__ import annotations

from pathlib import PurePath

from toyvisor.debug.register_names import PARTS
from toyvisor.debug.views.registers import registers_view
from toyvisor.errors import UsageError
from toyvisor.ui.prompt.changes import flags_text, plural
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.place_text import INDENT, event_text, place_text, printable, quoted
from toyvisor.ui.prompt.values import address_text, value_text

EVENTS = 10
_MOST_EVENTS = 100_000
_FRAME_ROW = 16


def registers(desk: Desk, argument: str) -> None:
    """`info registers [NAME...]`, `info registers all`: with the system registers."""
    if argument and argument != "all":
        for name in argument.replace(",", " ").split():
            _named(desk, name.lower().removeprefix("$"))
        return
    view = registers_view(desk.session.machine)
    for one in (*view.general, view.ip):
        desk.say(_row(one.name, one.value, one.bits))
    desk.say(f"{_row(view.flags.name, view.flags.value, view.flags.bits)} {_flags(desk)}")
    if argument == "all":
        for segment in view.segments:
            desk.say(
                f"{segment.name:<6}  {segment.selector:#06x}  base {segment.base:#x}, "
                f"limit {segment.limit:#x}, {segment.bits}-bit"
            )
        for one in view.control:
            desk.say(_row(one.name, one.value, one.bits))
        for table in view.tables:
            desk.say(f"{table.name:<6}  base {table.base:#x}, limit {table.limit:#x}")
        desk.say(f"mode    {view.mode}, {view.code_bits}-bit code, privilege level {view.cpl}")


def _named(desk: Desk, name: str) -> None:
    part = PARTS.get(name)
    if part is None:
        known = [other for other in desk.names.like(name) if other in PARTS]
        hint = f"did you mean {known[0]}?" if known else None
        raise UsageError(f"there is no register {name!r}", hint=hint)
    desk.say(_row(name, part.of(desk.names.register(part.register)), max(part.bits, 4)))


def _row(name: str, value: int, bits: int) -> str:
    return f"{name:<6}  {value:#0{bits // 4 + 2}x}  {value}"


def _flags(desk: Desk) -> str:
    return flags_text(desk.session.registers().rflags)


def flags(desk: Desk, _argument: str) -> None:
    """`info flags`."""
    for flag in registers_view(desk.session.machine).flag_bits:
        desk.say(f"{flag.name:<4} {flag.value}  {flag.meaning}")


def line(desk: Desk, argument: str) -> None:
    """`info line [PLACE]`: where a place lies in memory and in the source."""
    session = desk.session
    address = session.resolve(argument) if argument else session.instruction_address()
    found = session.line_at(address)
    if found is None:
        desk.say(f"{address_text(session, address)}: no source line made it")
        return
    name = PurePath(found.location.file).name
    size = len(found.data)
    desk.say(
        f"{name}:{found.location.line} is {plural(size, 'byte')} "
        f"at {address_text(session, found.address)}"
    )
    desk.say(f"{INDENT}{printable(found.text).strip()}")


def program(desk: Desk, _argument: str) -> None:
    """`info program`: the program and its machine, where we stand, and how it ends."""
    session = desk.session
    spec = session.program.spec
    for text in program_lines(desk):
        desk.say(text)
    desk.say(f"origin {session.program.assembly.origin:#x}, "
             f"{plural(len(session.program.assembly.image), 'byte')}, "
             f"entry {address_text(session, session.program.assembly.entry)}, "
             f"expected end: {spec.expect}")  # fmt: skip
    desk.say(f"here: {place_text(session)}")
    frontier = session.frontier
    desk.say(f"recorded: up to #{frontier.instructions}, {plural(len(session.events), 'event')}")
    if session.ending is not None:
        desk.say(f"ends: {session.ending.outcome}: {session.ending.explanation}")
    if session.branch:
        desk.say(f"branch: {plural(session.branch, 'change')} deep; `leave` goes back")


def program_lines(desk: Desk) -> list[str]:
    """The program and its machine in a line."""
    spec, name = desk.session.program.spec, desk.session.program.name
    devices = ", ".join(device.type for device in spec.devices) or "no devices"
    return [
        f"{name}: {printable(spec.title)}" if spec.title else name,
        f"machine: {spec.mode} mode, {spec.memory // 1024} KiB of RAM, {devices}",
    ]


def labels(desk: Desk, argument: str) -> None:
    """`info labels [PART]`: labels of the program, those with PART in their names."""
    assembly = desk.session.program.assembly
    end = assembly.origin + len(assembly.image)
    rows = sorted(
        (value, name)
        for name, value in assembly.symbols.items()
        if assembly.origin <= value < end and argument.lower() in name.lower()
    )
    for value, name in rows:
        desk.say(f"{value:#x}  {name}")
    if not rows:
        desk.say(f"no label has {argument!r} in its name" if argument else "no labels")


# What was counted -------------------------------------------------------------------------


def exits(desk: Desk, _argument: str) -> None:
    """`info exits`."""
    counters = desk.session.counters()
    desk.say(
        f"{plural(counters.total_exits, 'vmexit')}: {counters.userspace} to QEMU, "
        f"{counters.lightweight} lightweight"
    )
    for name, count in sorted(counters.exits.items(), key=lambda row: (-row[1], row[0])):
        desk.say(f"{INDENT}{name}: {count}")


def copies(desk: Desk, _argument: str) -> None:
    """`info copies`."""
    counters = desk.session.counters()
    desk.say(
        f"{plural(counters.copy_count, 'copy', 'copies')} of "
        f"{plural(counters.bytes_copied, 'byte')}"
    )
    for hop, (count, size) in counters.copies.items():
        desk.say(f"{INDENT}{hop}: {count}, {plural(size, 'byte')}")


def counters(desk: Desk, _argument: str) -> None:
    """`info counters`: all of them."""
    session = desk.session
    counted = session.counters()
    desk.say(f"instructions: {session.moment.instructions}")
    desk.say(f"events: {session.moment.events}")
    exits(desk, "")
    copies(desk, "")
    desk.say(f"interrupts: {counted.injected} injected, {counted.suppressed} suppressed")
    desk.say(f"context switches: {counted.context_switches}")
    calls = ", ".join(f"{name} {count}" for name, count in sorted(counted.syscalls.items()))
    desk.say(f"system calls: {calls or 'none but ioctl(KVM_RUN)'}")


def events(desk: Desk, argument: str) -> None:
    """`info events [COUNT]`: the last ones before here; `info events FROM TO`."""
    words = argument.split()
    now = desk.session.moment.events
    if len(words) > 1:
        first, last = (desk.value(word) for word in words[:2])
        last = min(last, first + _MOST_EVENTS)
    else:
        count = desk.count(argument, "COUNT", _MOST_EVENTS) if argument else EVENTS
        first, last = max(0, now - count), now - 1
    rows = desk.session.events[first : last + 1] if 0 <= first <= last else []
    for event in rows:
        desk.say(event_text(event))
    if not rows:
        desk.say(f"no such events; {len(desk.session.events)} are recorded, from 0 on")


def packets(desk: Desk, _argument: str) -> None:
    """`info packets`: the frames that have left the machine, and those that came in."""
    session = desk.session
    received = list(session.machine.net.received)
    for what, frames in (("sent", session.sent_packets()), ("received", received)):
        desk.say(f"{what}: {plural(len(frames), 'packet')}")
        for number, frame in enumerate(frames):
            shown = frame[:_FRAME_ROW].hex(" ")
            more = " ..." if len(frame) > _FRAME_ROW else ""
            desk.say(f"{INDENT}{number}: {plural(len(frame), 'byte')}: {shown}{more}")


def console(desk: Desk, _argument: str) -> None:
    """`info console`: all that the guest has printed, line by line."""
    data = desk.session.console()
    desk.say(f"printed: {plural(len(data), 'byte')}")
    for row in data.splitlines(keepends=True):
        desk.say(f"{INDENT}{quoted(row)}")


def checkpoints(desk: Desk, _argument: str) -> None:
    """`info checkpoints`: moments with names."""
    if not desk.kept:
        desk.say("no checkpoints")
    for name, kept in desk.kept.items():
        gone = "" if desk.path[: len(kept.path)] == kept.path else ", in a branch that was left"
        last = kept.moment.events - 1
        desk.say(f"{name}: #{kept.moment.instructions} event {last}{gone}")


def symbol(desk: Desk, argument: str) -> None:
    """`info symbol ADDRESS`: what the program calls it."""
    if not argument:
        raise UsageError("ADDRESS is missing", hint="info symbol rip")
    desk.say(value_text(desk.session, desk.value(argument), "a"))
