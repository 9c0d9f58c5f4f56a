"""`x/4gx ADDRESS`: guest memory, with gdb's counts, formats and units.

Source: GDB manual, "Examining Memory"; QEMU's monitor has the same `x`, and `xp` for physical
addresses.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from toyvisor.errors import InputError, UsageError
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.place_text import instruction_text, quoted
from toyvisor.ui.prompt.values import LETTERS, address_text, value_text

MOST = 4096
_FORMAT = re.compile(r"(?P<count>[0-9]*)(?P<letters>[a-z]*)")
_SIZES = {"b": 1, "h": 2, "w": 4, "g": 8}
#: How many stand in a line, by size.
_IN_A_LINE = {1: 8, 2: 8, 4: 4, 8: 2}
_LONGEST_TEXT, _LONGEST_INSTRUCTION = 200, 15


class Request(NamedTuple):
    """What is behind the slash."""

    number: int
    letter: str
    size: int


def examine(desk: Desk, argument: str) -> None:
    """`x[/NFU] [ADDRESS]`, by linear address."""
    _examine(desk, argument, is_physical=False)


def examine_physical(desk: Desk, argument: str) -> None:
    """`xp[/NFU] [ADDRESS]`, by guest-physical address."""
    _examine(desk, argument, is_physical=True)


def _examine(desk: Desk, argument: str, *, is_physical: bool) -> None:
    last = desk.examined
    form, text = "", argument
    if argument.startswith("/"):
        form, _, text = argument[1:].partition(" ")
    request = parse_format(form, last.letter, last.size)
    if text.strip():
        address = desk.value(text.strip())
    elif last.address is None:
        raise UsageError("ADDRESS is missing", hint="x/4gx rsp, x/s message, x/3i rip")
    else:
        address = last.address
    last.letter, last.size, last.is_physical = request.letter, request.size, is_physical
    last.address = _Memory(desk, address & (1 << 64) - 1, is_physical).show(request)


def parse_format(text: str, letter: str = "x", size: int = 8) -> Request:
    """`4gx`: how many, of what size, and how. What is left out is as it was the last time."""
    found = _FORMAT.fullmatch(text)
    letters = found["letters"] if found else text
    chosen = [one for one in letters if one in LETTERS or one in "si"]
    sizes = [one for one in letters if one in _SIZES]
    if found is None or len(chosen) > 1 or len(sizes) > 1 or len(letters) != len(chosen + sizes):
        raise UsageError(
            f"there is no format {text!r}",
            hint=f"a count, one of {' '.join(LETTERS)} s i, and a size b h w g: x/4gx",
        )
    count = int(found["count"] or 1) if len(found["count"]) < 9 else MOST + 1
    if not 1 <= count <= MOST:
        raise UsageError(f"x shows 1 to {MOST} at once, not {found['count']}")
    letter = chosen[0] if chosen else letter
    if letter == "a" and not sizes:
        size = 8
    elif letter == "c" and not sizes:
        size = 1
    return Request(count, letter, _SIZES[sizes[0]] if sizes else size)


class _Memory:
    """Memory from an address on, written line by line."""

    def __init__(self, desk: Desk, address: int, is_physical: bool) -> None:
        self._desk = desk
        self._session = desk.session
        self._address = address
        self._is_physical = is_physical

    def show(self, request: Request) -> int:
        """Say it; returns the address behind it."""
        if request.letter == "s":
            for _ in range(request.number):
                self._text()
        elif request.letter == "i":
            for _ in range(request.number):
                self._instruction()
        else:
            self._numbers(request)
        return self._address

    def _read(self, length: int) -> bytes:
        """As many of the bytes as there are."""
        if not self._is_physical:
            return self._session.vcpu.cpu.view.read(self._address, length)
        for start, end, ram in self._session.machine.vm.memory.blocks:
            if start <= self._address < end:
                return bytes(ram[self._address - start : self._address - start + length])
        return b""

    def _no_memory(self) -> InputError:
        kind = "guest-physical" if self._is_physical else "linear"
        return InputError(f"there is no memory at {kind} address {self._address:#x}")

    def _say(self, what: str, taken: int) -> None:
        label = f"{self._address:#x}" if self._is_physical else address_text(
            self._session, self._address
        )  # fmt: skip
        self._desk.say(f"{label}:  {what}")
        self._address += taken

    def _numbers(self, request: Request) -> None:
        left, size = request.number, request.size
        letter = "z" if request.letter == "x" else request.letter
        while left:
            data = self._read(min(left, _IN_A_LINE[size]) * size)
            values = [
                int.from_bytes(data[at : at + size], "little")
                for at in range(0, len(data) // size * size, size)
            ]
            if not values:
                raise self._no_memory()
            texts = [value_text(self._session, value, letter, size) for value in values]
            self._say("  ".join(texts), len(values) * size)
            left -= len(values)

    def _text(self) -> None:
        data = self._read(_LONGEST_TEXT)
        if not data:
            raise self._no_memory()
        text, zero, _ = data.partition(b"\0")
        self._say(quoted(text) + ("" if zero else "..."), len(text) + len(zero))

    def _instruction(self) -> None:
        if self._is_physical:
            raise UsageError("instructions are found by linear address", hint="x/i")
        from toyvisor.debug.views.disassembly import instruction_at

        found = instruction_at(self._session.machine, self._address)
        if found is None and not self._read(1):
            raise self._no_memory()
        text = instruction_text(self._session, self._address)
        self._say(text, found.size if found is not None else 1)
