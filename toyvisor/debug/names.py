"""What the names in an expression stand for, in a session at its present moment."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from toyvisor.debug.counters import Counters
from toyvisor.debug.expression_nodes import NoValueError, UnknownNameError
from toyvisor.debug.expressions import PLAIN_COUNTERS
from toyvisor.debug.moment import Moment
from toyvisor.debug.register_names import PARTS
from toyvisor.debug.ring_names import ring_names, ring_value
from toyvisor.debug.views.devices import RegisterRow, device_view
from toyvisor.errors import ToyvisorError
from toyvisor.guest.program import Program
from toyvisor.kvm.api import KvmRegs, KvmSregs
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import REASON_NAMES

_GENERAL = frozenset(name for name, *_ in KvmRegs._fields_)
_SEGMENTS = frozenset(("cs", "ds", "es", "fs", "gs", "ss"))


def word(name: str) -> str:
    """A name of the machine as an expression writes it: `virtio-net` is `virtio_net`."""
    return name.replace("-", "_")


#: exits.mmio and the rest, by the names of `run --json`.
EXIT_COUNTERS = {f"exits.{word(name)}": name for name in REASON_NAMES.values()}
COUNTERS: dict[str, Callable[[Counters], int]] = {
    "exits.total": lambda counters: counters.total_exits,
    "exits.userspace": lambda counters: counters.userspace,
    "exits.lightweight": lambda counters: counters.lightweight,
    "copies.count": lambda counters: counters.copy_count,
    "copies.bytes": lambda counters: counters.bytes_copied,
    "interrupts.injected": lambda counters: counters.injected,
    "interrupts.suppressed": lambda counters: counters.suppressed,
}


class Subject(Protocol):
    """What of a Session its names need."""

    @property
    def program(self) -> Program:
        """The program that runs."""

    @property
    def machine(self) -> Machine:
        """The machine at the moment."""

    @property
    def moment(self) -> Moment:
        """The moment."""

    def registers(self) -> KvmRegs:
        """The general registers."""

    def sregs(self) -> KvmSregs:
        """The segment and control registers."""

    def counters(self) -> Counters:
        """All counters."""

    def read_memory(self, address: int, length: int, *, linear: bool = False) -> bytes:
        """Guest memory. Raises a ToyvisorError where there is none."""


class SessionNames:
    """The names of one session; asked anew each time, so that they follow its moment."""

    def __init__(self, session: Subject) -> None:
        self._session = session
        self._symbols = session.program.assembly.symbols

    def register(self, name: str) -> int:
        """A whole register by its name in small letters."""
        if name in _GENERAL:
            return int(getattr(self._session.registers(), name))
        sregs = self._session.sregs()
        if name in _SEGMENTS:
            return int(getattr(sregs, name).selector)
        return int(getattr(sregs, name))

    def symbol(self, name: str) -> int | None:
        """The value of a label or constant; `.loop` is any label's if only one has it."""
        value = self._symbols.get(name)
        if value is None and name.startswith("."):
            owners = [full for full in self._symbols if full.endswith(name)]
            if len(owners) > 1:
                raise UnknownNameError(f"{name!r} is there {len(owners)} times", _or(owners[:3]))
            value = self._symbols[owners[0]] if owners else None
        return value

    def memory(self, address: int, size: int) -> int:
        """A number in guest memory, by linear address."""
        try:
            data = self._session.read_memory(address, size, linear=True)
        except ToyvisorError as error:
            raise NoValueError(error.message, error.hint) from error
        return int.from_bytes(data, "little")

    def dotted(self, path: str) -> int:
        """A counter, a device's register, a ring's index."""
        name = path.lower()
        if name == "instructions":
            return self._session.moment.instructions
        if name == "events":
            return self._session.moment.events
        if name in COUNTERS:
            return COUNTERS[name](self._session.counters())
        if name in EXIT_COUNTERS:
            return self._session.counters().exits.get(EXIT_COUNTERS[name], 0)
        value = self._of_device(name)
        if value is None:
            raise UnknownNameError(f"there is no {path!r}", _or(self.like(path)))
        return value

    def _of_device(self, name: str) -> int | None:
        machine = self._session.machine
        value = ring_value(machine, name)
        if value is not None:
            return value
        device, _, register = name.partition(".")
        for row in self._registers_of(self._devices().get(device, "")):
            if row.name.lower() == register:
                if row.value is None:
                    raise NoValueError(f"{name} has no value that lasts", "it is write-only")
                return row.value
        return None

    def _registers_of(self, device: str) -> Sequence[RegisterRow]:
        view = device_view(self._session.machine, device)
        return view.registers if view is not None else ()

    def _devices(self) -> dict[str, str]:
        """Names of the devices by the words for them."""
        return {word(name): name for name in self._session.machine.devices}

    def like(self, name: str) -> Sequence[str]:
        """Names that are nearly this one."""
        known = list(self.known())
        folded = [other for other in known if other.lower() == name.lower()]
        return folded or difflib.get_close_matches(name, known, 3, 0.65)

    def known(self) -> Iterable[str]:
        """Every name that has a value, for completion: counters and devices, labels, registers."""
        yield from PLAIN_COUNTERS
        yield from COUNTERS
        yield from EXIT_COUNTERS
        yield from ring_names(self._session.machine)
        for device, name in self._devices().items():
            rows = self._registers_of(name)
            yield from (f"{device}.{row.name}" for row in rows if row.value is not None)
        yield from self._symbols
        yield from PARTS


def _or(names: Sequence[str]) -> str | None:
    return f"did you mean {' or '.join(names)}?" if names else None
