"""A machine: QEMU's process around one guest program.

Built from the program's `/// machine` block: RAM and a KVM virtual machine on it, the
devices in their places, the program in memory, and one vCPU ready to run.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence

from toyvisor.errors import SourceError
from toyvisor.guest.program import DeviceSpec, Program
from toyvisor.host.console import Console
from toyvisor.host.net import NetBackend
from toyvisor.kvm.api import KvmRegs
from toyvisor.kvm.vm import Kvm
from toyvisor.memory import PAGE_SIZE
from toyvisor.modes import CpuMode
from toyvisor.qemu.address_space import AddressSpace
from toyvisor.qemu.boot import BOOT_STACK_POINTER, boot_areas, boot_sregs, write_boot_tables
from toyvisor.qemu.catalog import (
    DEVICE_TYPES,
    FIRST_IRQ,
    MMIO_BASE,
    MMIO_WINDOW,
    Backends,
    DeviceType,
    OptionError,
)
from toyvisor.qemu.device import DeviceContext, GuestErrorLog, MemoryRegionOps
from toyvisor.qemu.frame_table import FRAME_TABLE, FRAME_TABLE_END, place_frames
from toyvisor.qemu.kick import kicked_by_ctrl_c
from toyvisor.qemu.vcpu_thread import Ending, kvm_cpu_exec
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

DEFAULT_BUDGET = 10_000_000

_REGISTER_NAMES = {
    **{f"{p}{r}": f"r{r}" for r in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp") for p in "er"},
    **{r: f"r{r}" for r in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")},
    **{f"r{n}": f"r{n}" for n in range(8, 16)},
    "rflags": "rflags",
    "eflags": "rflags",
}


class Machine:
    """One virtual machine with its program loaded. Close it when done (context manager).

    `registers` are first values of general registers, over those of the program's block.
    Raises SourceError for a device, an option or a register that the block gets wrong.
    """

    def __init__(
        self,
        program: Program,
        net: NetBackend | None = None,
        *,
        trace: bool = False,
        registers: Mapping[str, int] | None = None,
        console: Console | None = None,
    ) -> None:
        self.program = program
        self.net = net if net is not None else NetBackend()
        self.ledger = Ledger(Trace(enabled=trace))
        self.trace = self.ledger.trace
        self.errors = GuestErrorLog(self.trace)
        self.console = console if console is not None else Console()
        self.memory = AddressSpace("memory", PAGE_SIZE, self.ledger, self.errors)
        self.ports = AddressSpace("I/O", 1, self.ledger, self.errors)
        self.devices: dict[str, MemoryRegionOps] = {}
        #: Frames in the frame table.
        self.frames_given = 0
        #: (name, first address, interrupt line) of the devices in memory windows
        self.windows: list[tuple[str, int, int]] = []

        self.ram = memoryview(mmap.mmap(-1, program.spec.memory))
        self.vm = Kvm(self.ledger).create_vm()
        self.vm.set_user_memory_region(0, 0, self.ram)
        self._add_devices(program.spec.devices)
        self._load()
        self.vcpu = self.vm.create_vcpu()
        try:
            self._reset_vcpu(registers or {})
        except BaseException:
            self.close()
            raise
        self.errors.instruction_pointer = self.vcpu.linear_rip

    def run(self, max_instructions: int = DEFAULT_BUDGET) -> Ending:
        """Run until the guest ends or has executed `max_instructions`.

        Raises KeyboardInterrupt if Ctrl-C was pressed meanwhile, once the guest has left.
        """
        self.vcpu.deadline = max_instructions
        with kicked_by_ctrl_c(self.vcpu):
            return kvm_cpu_exec(self.vcpu, self.memory, self.ports)

    def close(self) -> None:
        """End the virtual machine."""
        self.vm.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # Building ---------------------------------------------------------------------------

    def _add_devices(self, specs: Sequence[DeviceSpec]) -> None:
        for index, spec in enumerate(specs):
            kind = DEVICE_TYPES.get(spec.type)
            if kind is None:
                raise self._unknown_device(index, spec.type)
            for option in spec.options:
                if option not in kind.options:
                    known = ", ".join(kind.options) or "none"
                    raise self.program.spec.device_error(
                        index, f"{spec.type} has no option '{option}'", f"its options: {known}"
                    )
            if kind.port is not None and spec.type in self.devices:
                raise self.program.spec.device_error(index, f"{spec.type} is there twice")
            try:
                self._add_device(spec, kind)
            except OptionError as wrong:
                raise self.program.spec.device_error(index, str(wrong)) from None

    def _add_device(self, spec: DeviceSpec, kind: DeviceType) -> None:
        name = spec.type
        number = 1
        while name in self.devices:
            number += 1
            name = f"{spec.type}{number}"
        context = DeviceContext(name, memory=self.vm.memory, ledger=self.ledger, errors=self.errors)
        device = kind.build(context, Backends(self.console, self.net.file), spec.options)
        self.devices[name] = device
        if kind.port is not None:
            self.ports.map(kind.port, kind.ports, device)
        else:
            slot = len(self.windows)
            base = MMIO_BASE + slot * MMIO_WINDOW
            self.windows.append((name, base, FIRST_IRQ + slot))
            self.memory.map(base, MMIO_WINDOW, device)

    def _unknown_device(self, index: int, name: str) -> SourceError:
        import difflib

        close = difflib.get_close_matches(name, DEVICE_TYPES, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(DEVICE_TYPES)}"
        return self.program.spec.device_error(index, f"unknown device '{name}'", hint)

    def _load(self) -> None:
        """Boot tables, program, and the frames it is to send, into guest memory."""
        spec, assembly = self.program.spec, self.program.assembly
        end = assembly.origin + len(assembly.image)
        taken = boot_areas(spec.mode)
        if self.windows and spec.mode is not CpuMode.REAL:
            taken = [*taken, ("frame table", FRAME_TABLE, FRAME_TABLE_END)]
        for what, first, after in taken:
            if assembly.origin < after and first < end:
                raise spec.key_error(
                    "origin",
                    f"the program ({assembly.origin:#x}-{end - 1:#x}) lies on the {what} "
                    f"({first:#x}-{after - 1:#x})",
                    "leave origin out, or choose 0x100000 or higher",
                )
            if after > spec.memory:
                raise spec.key_error(
                    "memory",
                    f"the {what} ({first:#x}-{after - 1:#x}) does not fit into the memory of "
                    f"{spec.memory:#x} bytes",
                    'at least memory = "128K" for this machine',
                )
        write_boot_tables(self.ram, spec.mode)
        self.ram[assembly.origin : end] = assembly.image
        if self.windows and spec.mode is not CpuMode.REAL:
            place_frames(self.ram, self.net.frames_in, end, spec)
            self.frames_given = len(self.net.frames_in)

    def _reset_vcpu(self, registers: Mapping[str, int]) -> None:
        self.vcpu.set_sregs(boot_sregs(self.program.spec.mode))
        regs = KvmRegs(rsp=BOOT_STACK_POINTER, rip=self.program.assembly.entry, rflags=2)
        for name, value in {**self.program.spec.registers, **registers}.items():
            known = _REGISTER_NAMES.get(name)
            if known is None:
                raise self.program.spec.key_error(
                    "registers",
                    f"{name} can't be given a first value",
                    "general registers and rflags can",
                )
            setattr(regs, known, value)
        self.vcpu.set_regs(regs)
