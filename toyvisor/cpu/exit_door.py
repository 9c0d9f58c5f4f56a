"""The way out of the guest, shared by everything that notices an exit.

An exit happens in the middle of a guest instruction, inside a callback of Unicorn. First
KVM's kernel half is asked; if that does not finish it, `leave` switches to the host's
greenlet and comes back at the next entry with the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_void_p
from typing import Any, NamedTuple

from greenlet import GreenletExit

from toyvisor.cpu.unicorn_abi import library

#: Where the guest is (ExitDoor.access), other than in an access to the port of that number.
BETWEEN, IN_MEMORY_ACCESS, IN_HYPERCALL = -1, -2, -3
#: Not an exit: the guest stands between two instructions, as somebody asked it to.
AT_BOUNDARY = -1
#: An exit: (reason, ...). Memory: (reason, gpa, size, is_write, value). Ports:
#: (reason, port, size, is_write, value, count). Others: (reason, detail).
VmExit = tuple[Any, ...]


class KernelHalf(NamedTuple):
    """What KVM does about an exit before anybody thinks of returning to userspace.

    A None or False means "not mine", and the vCPU leaves for userspace.
    """

    #: A load from a guest-physical address without memory: (gpa, size) -> data.
    mmio_read: Callable[[int, int], int | None]
    #: A store to one: (gpa, size, value) -> done.
    mmio_write: Callable[[int, int, int], bool]
    #: IN: (port, size) -> data.
    pio_read: Callable[[int, int], int | None]
    #: OUT: (port, size, value) -> done.
    pio_write: Callable[[int, int, int], bool]
    #: CPUID: (leaf, subleaf) -> eax, ebx, ecx, edx.
    cpuid: Callable[[int, int], tuple[int, int, int, int]]


class ExitDoor:
    """Counts exits, tells who listens, and switches to the host."""

    __slots__ = ("_engine", "_moment", "access", "exits", "failure", "kernel", "on_exit",
                 "to_host")  # fmt: skip

    def __init__(
        self,
        engine: c_void_p,
        kernel: KernelHalf,
        exits: list[int],
        moment: Callable[[], tuple[int, int]],
        to_host: Callable[[VmExit], int],
    ) -> None:
        self._engine = engine
        self._moment = moment
        self.kernel = kernel
        #: In which access the guest was last: while an exit is served, the one in hand.
        self.access = BETWEEN
        #: Every exit, by VMX basic exit reason. Nobody else counts exits.
        self.exits = exits
        #: Switches to the host's greenlet with an exit; returns the answer to it.
        self.to_host = to_host
        #: Called at each exit, while it is wanted, with RIP and the time.
        self.on_exit: Callable[[int, int], None] | None = None
        #: What a callback raised; to be raised again where Unicorn is not on the stack.
        self.failure: BaseException | None = None

    def note(self, reason: int) -> None:
        """An exit has happened."""
        self.exits[reason] += 1
        if self.on_exit is not None:
            self.on_exit(*self._moment())

    def leave(self, exit_: VmExit) -> int:
        """An exit that is userspace's business; comes back at the next entry."""
        self.note(exit_[0])
        return self.to_host(exit_)

    def fail(self, failure: BaseException) -> None:
        """Keep what a callback raised: ctypes would swallow it, and the guest run on."""
        if not isinstance(failure, GreenletExit):
            self.failure = failure
        library.uc_emu_stop(self._engine)
