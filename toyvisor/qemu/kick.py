"""Ctrl-C while the guest runs: kick the vCPU out, then stop.

QEMU sends its vCPU thread a signal, and KVM_RUN returns with KVM_EXIT_INTR (cpus.c,
qemu_cpu_kick()). Python's own way, an exception wherever the program happens to be, would be
lost where that is a callback from C.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toyvisor.kvm.file_descriptors import VcpuFd


@contextmanager
def kicked_by_ctrl_c(vcpu: VcpuFd) -> Iterator[None]:
    """Around a run: Ctrl-C ends its time slice, and KeyboardInterrupt follows the run."""
    kicked = False

    def kick(_number: int, _frame: object) -> None:
        nonlocal kicked
        if kicked:  # it does not leave: the second time is the rough way
            raise KeyboardInterrupt
        kicked = True
        vcpu.kick()

    try:
        before = signal.signal(signal.SIGINT, kick)
    except ValueError:  # not the main thread: no signal comes here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if kicked:
        raise KeyboardInterrupt
