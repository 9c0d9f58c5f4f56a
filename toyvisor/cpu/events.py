"""Interrupts and exceptions as the processor sees them, and what two of them make.

Intel SDM vol. 3, chapter 7 (interrupt and exception handling); the types are those of the
VM-entry interruption-information field (26.8.3).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

DE, DB, NMI, BP, OF, BR, UD, NM, DF = 0, 1, 2, 3, 4, 5, 6, 7, 8
TS, NP, SS, GP, PF, MF, AC, MC, XM = 10, 11, 12, 13, 14, 16, 17, 18, 19

#: Exceptions that push an error code (SDM vol. 3, table 7-1).
WITH_ERROR_CODE = frozenset((DF, TS, NP, SS, GP, PF, AC))
#: Reported behind the instruction; all others of the processor's own are faults.
TRAPS = frozenset((BP, OF))
_CONTRIBUTORY = frozenset((DE, TS, NP, SS, GP))
#: What an error code says beside a selector (SDM vol. 3, 7.13).
EXT, IDT = 1 << 0, 1 << 1


class EventType(IntEnum):
    """Where an event comes from."""

    EXTERNAL_INTERRUPT = 0
    NMI = 2
    HARDWARE_EXCEPTION = 3
    SOFTWARE_INTERRUPT = 4  # INT n
    PRIVILEGED_SOFTWARE_EXCEPTION = 5  # INT1
    SOFTWARE_EXCEPTION = 6  # INT3, INTO


_SOFTWARE = frozenset((EventType.SOFTWARE_INTERRUPT, EventType.SOFTWARE_EXCEPTION))


class Event(NamedTuple):
    """One event to be delivered.

    `length` is that of the instruction that caused it, where RIP stands behind that one
    already: a delivery that fails goes back to it. `address`: a page fault's, for people.
    """

    vector: int
    type: EventType
    error_code: int | None = None
    length: int = 0
    address: int | None = None

    @property
    def is_software(self) -> bool:
        """Whether an instruction asked for it, so that the gate's DPL counts."""
        return self.type in _SOFTWARE

    @property
    def ext(self) -> int:
        """The EXT bit of a fault met while delivering it; INT1 sets it, too (vol. 3, 7.13)."""
        return 0 if self.is_software else EXT

    @property
    def is_fault(self) -> bool:
        """Whether RIP stays on the instruction, and RF is set in the frame (18.3.1.1)."""
        return (
            self.type is EventType.HARDWARE_EXCEPTION
            and self.vector not in (DB, DF, MC)
            and self.vector not in TRAPS
        )


def vector_number(vector: int) -> str:
    """A vector as manuals write it: exceptions in decimal, others in hexadecimal."""
    return str(vector) if vector < 32 else f"{vector:#x}"


class ProcessorFault(Exception):  # noqa: N818 (its name in every manual)
    """A fault met while an event is delivered; `why` is for people."""

    def __init__(self, vector: int, error_code: int, why: str) -> None:
        super().__init__(why)
        self.vector = vector
        self.error_code = error_code
        self.why = why


class OutsideRamError(Exception):
    """The processor's own access found no RAM: an EPT exit in the middle of a delivery."""

    def __init__(self, gpa: int) -> None:
        super().__init__(hex(gpa))
        self.gpa = gpa


class UnsupportedDelivery(Exception):  # noqa: N818 (not the guest's error)
    """A way of delivery that this processor does not have."""


class TripleFault(Exception):  # noqa: N818
    """A fault while a double fault is delivered: the processor shuts down."""


def combine(first: Event, second: ProcessorFault) -> Event:
    """What is delivered when `second` was met delivering `first` (SDM vol. 3, table 7-5).

    Raises TripleFault.
    """
    contributory = second.vector in _CONTRIBUTORY
    if first.type is EventType.HARDWARE_EXCEPTION:
        if first.vector == DF:
            raise TripleFault
        if (first.vector in _CONTRIBUTORY and contributory) or (
            first.vector == PF and (contributory or second.vector == PF)
        ):
            return Event(DF, EventType.HARDWARE_EXCEPTION, 0)
    return Event(second.vector, EventType.HARDWARE_EXCEPTION, second.error_code)
