"""Commands that change the guest: what if a register or a byte had another value?"""

from __future__ import annotations

import re
from collections.abc import Callable

from toyvisor.debug.moment import Stop
from toyvisor.debug.register_names import PARTS
from toyvisor.errors import UsageError
from toyvisor.kvm.api import KvmRegs
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.moving import report

_GENERAL = frozenset(name for name, *_ in KvmRegs._fields_)
_HINT = "set rax = 5, set zf = 1, set u32[buffer] = 7"
_MEMORY = re.compile(
    r"(?:(?P<view>[us](?:8|16|32|64))|(?P<word>byte|word|dword|qword)(?:\s+ptr)?)?"
    r"\s*\[(?P<address>.*)\]\s*(?::\s*(?P<size>[1248]))?",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = {"byte": 1, "word": 2, "dword": 4, "qword": 8}


def set_value(desk: Desk, argument: str) -> None:
    """`set REGISTER = VALUE`, `set u32[ADDRESS] = VALUE`."""
    target, equals, text = _split(argument)
    if not equals or not target or not text:
        raise UsageError("set what to what?", hint=_HINT)
    name = target.lower().removeprefix("$")
    if name in PARTS:
        _set_register(desk, name, desk.value(text))
        return
    found = _MEMORY.fullmatch(target)
    if found is None:
        raise UsageError(f"{target!r} is neither a register nor memory", hint=_HINT)
    size = _size(found)
    value, address = desk.value(text), desk.value(found["address"])
    data = fitting(value, 8 * size, target).to_bytes(size, "little")
    _change(
        desk,
        lambda: desk.session.write_memory(address & (1 << 64) - 1, data, linear=True),
    )


def _split(argument: str) -> tuple[str, str, str]:
    """At the first `=` that is not part of a comparison."""
    target, equals, text = argument.partition("=")
    return target.strip(), equals, text.strip()


def _size(found: re.Match[str]) -> int:
    if found["view"]:
        return int(found["view"][1:]) // 8
    if found["word"]:
        return _WORDS[found["word"].lower()]
    return int(found["size"] or 8)


def _set_register(desk: Desk, name: str, value: int) -> None:
    part = PARTS[name]
    if part.register not in _GENERAL:
        raise UsageError(f"{name} can't be changed here", hint="general registers and flags can")
    value = fitting(value, part.bits, name)
    _change(desk, lambda: desk.session.set_register(name, value))


def fitting(value: int, bits: int, what: str) -> int:
    """The value as an unsigned number of so many bits; signed ones that fit are taken, too."""
    high = value >> (bits - 1)
    is_small_negative = high in (-1, (1 << 64 - (bits - 1)) - 1)
    if not 0 <= value < 1 << bits and not is_small_negative:
        raise UsageError(f"{what} has {bits} bits; {value:#x} does not fit")
    return value & (1 << bits) - 1


def _change(desk: Desk, change: Callable[[], Stop]) -> None:
    change()
    desk.changes += 1
    # A second change at the same moment takes the place of the first one's branch.
    desk.path = (*desk.path[: desk.session.branch - 1], desk.changes)
    desk.examined.address = None
    report(desk)


def leave(desk: Desk, _argument: str) -> None:
    """`leave`: back to the run that the last change left."""
    desk.session.leave_branch()
    desk.path = desk.path[: desk.session.branch]
    desk.examined.address = None
    report(desk)
