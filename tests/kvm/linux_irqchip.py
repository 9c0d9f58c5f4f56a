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
import os
import struct
from ctypes import c_uint8, c_uint16, c_uint32

from linux_kvm import (
    _CPUID_HEADER,
    CREATE_VCPU,
    CREATE_VM,
    DEVICE,
    GET_SREGS,
    GET_SUPPORTED_CPUID,
    GET_VCPU_MMAP_SIZE,
    RUN,
    SET_CPUID2,
    SET_REGS,
    SET_SREGS,
    SET_USER_MEMORY_REGION,
    Cpuid,
    MemoryRegion,
    _io,
    _ior,
    _iow,
    why_not,
)
from real_mode_vectors import guest_image, note_vector

from toyvisor.kvm.api import KvmExit, KvmRegs, KvmRun, KvmSregs

assert _CPUID_HEADER == 8


class PicState(ctypes.Structure):
    """struct kvm_pic_state."""

    _fields_ = tuple(
        (name, c_uint8)
        for name in (
            "last_irr",
            "irr",
            "imr",
            "isr",
            "priority_add",
            "irq_base",
            "read_reg_select",
            "poll",
            "special_mask",
            "init_state",
            "auto_eoi",
            "rotate_on_auto_eoi",
            "special_fully_nested_mode",
            "init4",
            "elcr",
            "elcr_mask",
        )
    )


class Irqchip(ctypes.Structure):
    """struct kvm_irqchip, of which the PICs' state is the first part."""

    _fields_ = (
        ("chip_id", c_uint32),
        ("pad", c_uint32),
        ("pic", PicState),
        ("rest", c_uint8 * (512 - 16)),
    )


class IrqLevel(ctypes.Structure):
    """struct kvm_irq_level."""

    _fields_ = (("irq", c_uint32), ("level", c_uint32))


class PitChannelState(ctypes.Structure):
    """struct kvm_pit_channel_state."""

    _fields_ = (
        ("count", c_uint32),
        ("latched_count", c_uint16),
        *(
            (name, c_uint8)
            for name in (
                "count_latched",
                "status_latched",
                "status",
                "read_state",
                "write_state",
                "write_latch",
                "rw_mode",
                "mode",
                "bcd",
                "gate",
            )
        ),
        ("count_load_time", ctypes.c_int64),
    )


class PitState2(ctypes.Structure):
    """struct kvm_pit_state2."""

    _fields_ = (("channels", PitChannelState * 3), ("flags", c_uint32), ("reserved", c_uint32 * 9))


class PitConfig(ctypes.Structure):
    """struct kvm_pit_config."""

    _fields_ = (("flags", c_uint32), ("pad", c_uint32 * 15))


class ReinjectControl(ctypes.Structure):
    """struct kvm_reinject_control."""

    _fields_ = (("pit_reinject", c_uint8), ("reserved", c_uint8 * 31))


PIT_SPEAKER_DUMMY = 1

CREATE_IRQCHIP = _io(0x60)
IRQ_LINE = _iow(0x61, ctypes.sizeof(IrqLevel))
GET_IRQCHIP = 3 << 30 | ctypes.sizeof(Irqchip) << 16 | _io(0x62)
REINJECT_CONTROL = _io(0x71)
CREATE_PIT2 = _iow(0x77, ctypes.sizeof(PitConfig))
GET_PIT2 = _ior(0x9F, ctypes.sizeof(PitState2))

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
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        vm = fcntl.ioctl(device, CREATE_VM, 0)
        fcntl.ioctl(vm, CREATE_IRQCHIP, 0)
        if pit:
            fcntl.ioctl(vm, CREATE_PIT2, PitConfig(PIT_SPEAKER_DUMMY))
        image = guest_image(DRIVER)
        self.ram = mmap.mmap(-1, 0x10000)
        self.ram[: len(image)] = image
        self._view = ctypes.c_char.from_buffer(self.ram)
        region = MemoryRegion(0, 0, 0, len(self.ram), ctypes.addressof(self._view))
        fcntl.ioctl(vm, SET_USER_MEMORY_REGION, region)
        vcpu = fcntl.ioctl(vm, CREATE_VCPU, 0)
        self._open = [device, vm, vcpu]
        self.vm, self.vcpu = vm, vcpu
        self.kvm_run = KvmRun(mmap.mmap(vcpu, fcntl.ioctl(device, GET_VCPU_MMAP_SIZE, 0)))
        cpuid = Cpuid(nent=256)
        fcntl.ioctl(device, GET_SUPPORTED_CPUID, cpuid)
        fcntl.ioctl(vcpu, SET_CPUID2, cpuid)
        sregs = KvmSregs()
        fcntl.ioctl(vcpu, GET_SREGS, sregs)
        sregs.cs.base = sregs.cs.selector = 0
        fcntl.ioctl(vcpu, SET_SREGS, sregs)
        fcntl.ioctl(vcpu, SET_REGS, KvmRegs(rip=0x1000, rsp=0x8000, rflags=2))
        self._run()

    def _run(self) -> None:
        fcntl.ioctl(self.vcpu, RUN, 0)
        reason = self.kvm_run.exit_reason
        assert reason == KvmExit.IO, KvmExit(reason)
        assert self.kvm_run.io.port == NEXT, hex(self.kvm_run.io.port)

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
        fcntl.ioctl(self.vm, IRQ_LINE, IrqLevel(irq, level))

    def pics(self) -> tuple[dict[str, int], dict[str, int]]:
        """KVM_GET_IRQCHIP: the registers of master and slave."""
        chips = []
        for number in (0, 1):
            chip = Irqchip(number)
            fcntl.ioctl(self.vm, GET_IRQCHIP, chip)
            chips.append({name: getattr(chip.pic, name) for name, _ in PicState._fields_})
        return chips[0], chips[1]

    def pit(self) -> list[dict[str, int]]:
        """KVM_GET_PIT2: the registers of the three counters."""
        state = PitState2()
        fcntl.ioctl(self.vm, GET_PIT2, state)
        return [
            {name: getattr(channel, name) for name, _ in PitChannelState._fields_}
            for channel in state.channels
        ]

    def reinject(self, wanted: bool) -> None:
        """KVM_REINJECT_CONTROL."""
        fcntl.ioctl(self.vm, REINJECT_CONTROL, ReinjectControl(wanted))

    def close(self) -> None:
        """The VM is gone."""
        del self._view, self.kvm_run
        for descriptor in reversed(self._open):
            os.close(descriptor)


def why_no_irqchip() -> str | None:
    """Why Linux's in-kernel devices can't be used here; None if they can."""
    if reason := why_not():
        return reason
    try:
        vm = LinuxIrqchip(pit=True)
        vm.write(0x21, 0x5A)
        answer = vm.read(0x21)
        vm.close()
    except (OSError, AssertionError, ValueError) as error:
        return f"{DEVICE}: no in-kernel interrupt controller: {error}"
    return None if answer == 0x5A else f"{DEVICE}: its interrupt controller answers {answer:#x}"
