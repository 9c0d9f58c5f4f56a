"""Linux's in-kernel interrupt controllers and timer, driven port by port.

A VM with KVM_CREATE_IRQCHIP and, if wanted, KVM_CREATE_PIT2. Its ports can only be reached from
inside, so a few lines of real-mode code sit there and do what a mailbox in RAM says, one access
at a time: an OUT, an IN, or a moment with interrupts on, in which the processor acknowledges
(INTA) what is pending, and a handler notes the vector.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import struct
from ctypes import c_uint8

from linux_kvm import why_not
from real_mode_vectors import guest_image, note_vector

from toyvisor.errors import MachineError
from toyvisor.kvm import ioctls
from toyvisor.kvm.api import KvmExit, KvmRegs
from toyvisor.kvm.linux import DEVICE, LinuxKvm
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import boot_sregs
from toyvisor.trace.ledger import Ledger


class ReinjectControl(ctypes.Structure):
    """struct kvm_reinject_control."""

    _fields_ = (("pit_reinject", c_uint8), ("reserved", c_uint8 * 31))


REINJECT_CONTROL = 0xAE71  # _IO(KVMIO, 0x71)

#: The mailbox: what to do, the port, the value; what was read; the vector taken, and whether.
MAILBOX = 0x500
OUTB, INB, OUTW, INW, INTA = range(5)
NEXT = 0xF0  # an OUT to this port comes out to userspace: done

DRIVER = f"""
next:   out     {NEXT:#x}, al
        mov     dx, [{MAILBOX + 2:#x}]
        mov     ax, [{MAILBOX + 4:#x}]
        mov     bl, [{MAILBOX:#x}]
        cmp     bl, {OUTB}
        jne     1f
        out     dx, al
1:      cmp     bl, {INB}
        jne     1f
        in      al, dx
1:      cmp     bl, {OUTW}
        jne     1f
        out     dx, ax
1:      cmp     bl, {INW}
        jne     1f
        in      ax, dx
1:      mov     [{MAILBOX + 6:#x}], ax
        cmp     bl, {INTA}
        jne     next
        sti
        nop
        out     {NEXT:#x}, al   ; KVM injects when it enters the guest
        nop
        cli
        jmp     next
{note_vector(MAILBOX + 8)}
"""


class LinuxIrqchip:
    """The VM. Its methods are those of the toy's devices, as far as both have them."""

    def __init__(self, *, pit: bool = False) -> None:
        self._vm = LinuxKvm(Ledger()).create_vm()
        self._irqchip = self._vm.create_irqchip()
        if pit:
            self._vm.create_pit2()
        image = guest_image(DRIVER)
        self.ram = memoryview(mmap.mmap(-1, 0x10000))
        self.ram[: len(image)] = image
        self._vm.set_user_memory_region(0, 0, self.ram)
        self._vcpu = self._vm.create_vcpu()
        self._vcpu.set_sregs(boot_sregs(CpuMode.REAL))
        self._vcpu.set_regs(KvmRegs(rip=0x1000, rsp=0x8000, rflags=2))
        self._run()

    def _run(self) -> None:
        self._vcpu.run()
        run = self._vcpu.kvm_run
        assert run.exit_reason == KvmExit.IO, KvmExit(run.exit_reason)
        assert run.io.port == NEXT, hex(run.io.port)

    def _do(self, what: int, port: int = 0, value: int = 0) -> None:
        self.ram[MAILBOX : MAILBOX + 10] = struct.pack("<BxHHxxxx", what, port, value)
        self._run()

    def write(self, port: int, value: int, size: int = 1) -> None:
        """OUT of one byte, or of two."""
        self._do({1: OUTB, 2: OUTW}[size], port, value)

    def read(self, port: int, size: int = 1) -> int:
        """IN of one byte, or of two."""
        self._do({1: INB, 2: INW}[size], port)
        return int.from_bytes(self.ram[MAILBOX + 6 : MAILBOX + 6 + size], "little")

    def take_interrupt(self) -> int | None:
        """A moment with interrupts on: the vector that came, if one did."""
        self._do(INTA)
        self._run()
        return self.ram[MAILBOX + 8] if self.ram[MAILBOX + 9] else None

    def set_irq(self, irq: int, level: int) -> None:
        """KVM_IRQ_LINE."""
        self._vm.irq_line(irq, level)

    def pics(self) -> tuple[dict[str, int], dict[str, int]]:
        """KVM_GET_IRQCHIP: the registers of master and slave."""
        names = ioctls.KvmPicState.NAMES
        master, slave = (
            {name: getattr(chip, name) for name in names} for chip in self._irqchip.get_irqchip()
        )
        return master, slave

    def pit(self) -> list[dict[str, int]]:
        """KVM_GET_PIT2: the registers of the three counters."""
        assert self._vm.pit is not None
        names = [name for name, _ in ioctls.PitChannelState._fields_]
        return [
            {name: getattr(channel, name) for name in names}
            for channel in self._vm.pit.get_pit2().channels
        ]

    def reinject(self, wanted: bool) -> None:
        """KVM_REINJECT_CONTROL."""
        fcntl.ioctl(self._vm.fd, REINJECT_CONTROL, ReinjectControl(wanted))

    def close(self) -> None:
        """The VM is gone."""
        self._vm.close()


def why_no_irqchip() -> str | None:
    """Why Linux's in-kernel devices can't be used here; None if they can."""
    if reason := why_not():
        return reason
    try:
        vm = LinuxIrqchip(pit=True)
        vm.write(0x21, 0x5A)
        answer = vm.read(0x21)
        vm.close()
    except (MachineError, AssertionError, ValueError) as error:
        return f"{DEVICE}: no in-kernel interrupt controller: {error}"
    return None if answer == 0x5A else f"{DEVICE}: its interrupt controller answers {answer:#x}"
