"""The names that a program's source has for addresses."""

from __future__ import annotations

import re
from bisect import bisect_right

from toyvisor.guest.assembly import Assembly
from toyvisor.guest.program import Program

_LABEL = re.compile(r"\s*([A-Za-z_.$?@][\w.$?@]*)\s*:")
#: A constant is the address of an area of memory if the program uses it like one: between
#: brackets, or (a round one) as a whole operand.
_IN_BRACKETS = re.compile(r"\[([^\]]*)\]")
_WHOLE_OPERAND = re.compile(r",\s*([A-Z_]\w*)\s*(?:;|#|//|$)")
_NAME = re.compile(r"[A-Za-z_]\w*")
_LOWEST_AREA = 0x1000
_PAGE = 0x1000


class Labels:
    """The labels of one program, and its constants that look like places in RAM."""

    def __init__(self, assembly: Assembly, memory: int) -> None:
        self._end = assembly.origin + len(assembly.image)
        self._at: dict[int, tuple[str, ...]] = {}
        for line in assembly.listing.lines:
            rest = line.text
            while found := _LABEL.match(rest):
                self._add(assembly, line.address, found[1])
                rest = rest[found.end() :]
        self._addresses = sorted(self._at)
        used = _used_as_addresses(assembly)
        self._areas = {
            value: name
            for name, value in reversed(assembly.symbols.items())
            if name in used and _LOWEST_AREA <= value < memory and value not in self._at
        }

    def _add(self, assembly: Assembly, address: int, name: str) -> None:
        known = self._at.get(address, ())
        if name.startswith("."):
            whole = [
                symbol
                for symbol, value in assembly.symbols.items()
                if value == address and symbol.endswith(name)
            ]
            name = whole[0] if whole else name
        elif assembly.symbols.get(name) != address:
            return
        if name not in known:
            self._at[address] = (*known, name)

    def at(self, address: int) -> tuple[str, ...]:
        """The labels that stand exactly there."""
        return self._at.get(address, ())

    def near(self, address: int) -> str:
        """`loop`, `loop+0x4`; the name of an area of RAM that begins there; or nothing."""
        position = bisect_right(self._addresses, address) - 1
        if position >= 0 and address < self._end:
            start = self._addresses[position]
            name = self._at[start][-1]
            return name if start == address else f"{name}+{address - start:#x}"
        return self._areas.get(address, "")

    def area(self, first: int, after: int) -> str:
        """An area of RAM that begins somewhere from `first` to before `after`."""
        for address in range(first, after):
            if name := self._areas.get(address, ""):
                return name if address == first else f"{name} at +{address - first:#x}"
        return ""

    def name_of(self, address: int) -> str:
        """As near(), but with the area of RAM that an address lies in, up to a page behind it."""
        if name := self.near(address):
            return name
        below = [start for start in self._areas if start <= address < start + _PAGE]
        if not below:
            return ""
        start = max(below)
        return f"{self._areas[start]}+{address - start:#x}"


def _used_as_addresses(assembly: Assembly) -> set[str]:
    found: set[str] = set()
    for line in assembly.listing.lines:
        for inside in _IN_BRACKETS.findall(line.text):
            found.update(_NAME.findall(inside))
        whole = _WHOLE_OPERAND.search(line.text)
        if whole and not assembly.symbols.get(whole[1], 1) & 0xFF:
            found.add(whole[1])
    return {name for name in found if name.isupper()}


_last: tuple[Assembly, Labels] | None = None


def labels_of(program: Program) -> Labels:
    """The labels of a program; the last one's are kept."""
    global _last
    if _last is None or _last[0] is not program.assembly:
        _last = (program.assembly, Labels(program.assembly, program.spec.memory))
    return _last[1]


def label_of(program: Program, address: int) -> str:
    """What the program calls an address: `loop`, `loop+0x4`, or nothing."""
    return labels_of(program).near(address)
