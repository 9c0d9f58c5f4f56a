"""What is different from before a movement: registers, counters, what the guest has printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from toyvisor.debug.counters import Counters
from toyvisor.debug.moment import Moment
from toyvisor.debug.views.registers import FLAGS
from toyvisor.kvm.api import KvmRegs
from toyvisor.ui.prompt.place_text import INDENT, quoted

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

_NAMES = tuple(name for name, *_ in KvmRegs._fields_ if name != "rip")
_PRINTED_AT_MOST, _SENT_AT_MOST = 500, 4


class Before(NamedTuple):
    """What there was before a movement."""

    moment: Moment
    branch: int
    registers: tuple[int, ...]
    counters: Counters
    printed: int
    sent: int

    @classmethod
    def of(cls, session: Session) -> Before:
        """What there is now."""
        return cls(
            session.moment, session.branch, _registers(session), session.counters(),
            len(session.console()), len(session.sent_packets()),
        )  # fmt: skip

    def differences(self, session: Session, *, shows_registers: bool) -> list[str]:
        """What came on top, a line each; nothing of it if the movement went back."""
        now = Before.of(session)
        if now.branch != self.branch or now.moment <= self.moment:
            return []
        lines = []
        if now.moment.events > self.moment.events + 1 or now.moment.between:
            counted = counted_between(self.counters, now.counters)
            lines += [f"{INDENT}on the way: {counted}"] if counted else []
        if shows_registers and (changed := self._changed(now)):
            lines.append(f"{INDENT}changed: {', '.join(changed)}")
        if now.printed > self.printed:
            new = session.console()[self.printed :]
            more = (
                "" if len(new) <= _PRINTED_AT_MOST else f" and {len(new) - _PRINTED_AT_MOST} more"
            )
            lines.append(f"{INDENT}printed: {quoted(new[:_PRINTED_AT_MOST])}{more}")
        return lines + _sent(session.sent_packets()[self.sent :], self.sent)

    def _changed(self, now: Before) -> list[str]:
        return [
            f"{name} {flags_text(old)} -> {flags_text(new)}"
            if name == "rflags"
            else f"{name} {old:#x} -> {new:#x}"
            for name, old, new in zip(_NAMES, self.registers, now.registers, strict=True)
            if old != new
        ]


def _sent(frames: list[bytes], first: int) -> list[str]:
    """What has been sent: packets by their numbers, from `first` on."""
    if len(frames) > _SENT_AT_MOST:
        last, size = first + len(frames) - 1, sum(map(len, frames))
        return [f"{INDENT}sent: packets {first} to {last}, {size} bytes"]
    return [
        f"{INDENT}sent: packet {number}, {len(frame)} bytes"
        for number, frame in enumerate(frames, first)
    ]


def _registers(session: Session) -> tuple[int, ...]:
    regs = session.registers()
    return tuple(getattr(regs, name) for name in _NAMES)


def flags_text(rflags: int) -> str:
    """The flags that are set, by name: `[PF ZF IF]`."""
    names = [
        name if width == 1 else f"{name}={rflags >> bit & 3}"
        for name, bit, width, _ in FLAGS
        if rflags >> bit & (1 << width) - 1
    ]
    return f"[{' '.join(names)}]"


def counted_between(old: Counters, new: Counters) -> str:
    """What was counted between two moments, in words; "" if nothing was."""
    parts = []
    exits = new.total_exits - old.total_exits
    if exits:
        kinds = [
            f"{name} {count - old.exits.get(name, 0)}"
            for name, count in new.exits.items()
            if count > old.exits.get(name, 0)
        ]
        parts.append(f"{plural(exits, 'vmexit')} ({', '.join(kinds)})")
    if new.userspace > old.userspace:
        parts.append(f"{plural(new.userspace - old.userspace, 'return')} to QEMU")
    if copies := new.copy_count - old.copy_count:
        size = new.bytes_copied - old.bytes_copied
        parts.append(f"{plural(copies, 'copy', 'copies')} of {plural(size, 'byte')}")
    calls = sum(new.syscalls.values()) - sum(old.syscalls.values())
    if calls:
        parts.append(plural(calls, "system call"))
    if new.injected > old.injected:
        parts.append(f"{plural(new.injected - old.injected, 'interrupt')} injected")
    if new.suppressed > old.suppressed:
        parts.append(f"{plural(new.suppressed - old.suppressed, 'notification')} suppressed")
    return ", ".join(parts)


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 copy`, `2 copies`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
