"""A machine: QEMU's process around one guest program.

Built from the program's `/// machine` block: RAM and a KVM virtual machine on it, the
devices in their places, the program in memory, and one vCPU ready to run.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any, NamedTuple

from toyvisor.guest.program import Program
from toyvisor.host.console import Console
from toyvisor.host.net import NetBackend
from toyvisor.kvm.api import KvmRegs
from toyvisor.modes import CpuMode
from toyvisor.qemu.accel import DEFAULT_BUDGET as DEFAULT_BUDGET
from toyvisor.qemu.accel import DEFAULT_SECONDS, AccelName, Limits, create_accel
from toyvisor.qemu.board import Board
from toyvisor.qemu.boot import BOOT_STACK_POINTER, boot_areas, boot_sregs, write_boot_tables
from toyvisor.qemu.device import GuestErrorLog
from toyvisor.qemu.frame_table import FRAME_TABLE, FRAME_TABLE_END, place_frames
from toyvisor.qemu.kick import kicked_by_ctrl_c
from toyvisor.qemu.vcpu_thread import TIME_SLICE, Ending, kvm_cpu_exec
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

_REGISTER_NAMES = {
    **{f"{p}{r}": f"r{r}" for r in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp") for p in "er"},
    **{r: f"r{r}" for r in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")},
    **{f"r{n}": f"r{n}" for n in range(8, 16)},
    "rflags": "rflags",
    "eflags": "rflags",
}


class Arrivals(NamedTuple):
    """How frames come in over the wire: so many at once, so much time between (None: usual)."""

    burst: int = 1
    interval: int | None = None


class Machine:
    """One virtual machine with its program loaded. Close it when done (context manager).

    `accel` is whose KVM runs it; MachineError if this host has not got it.
    `registers` are first values of general registers, over those of the program's block, and
    `options` device options by the device's type: {"virtio-net": {"vhost": True}}.
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
        options: Mapping[str, Mapping[str, Any]] | None = None,
        arrivals: Arrivals | None = None,
        accel: AccelName = AccelName.TOY,
    ) -> None:
        self.program = program
        self.net = net if net is not None else NetBackend()
        self.ledger = Ledger(Trace(enabled=trace))
        self.trace = self.ledger.trace
        self.errors = GuestErrorLog(self.trace)
        self.console = console if console is not None else Console()
        #: Frames in the frame table.
        self.frames_given = 0
        self.accel = create_accel(accel, self.ledger)
        self.kernel, self.vm = self.accel.kernel, self.accel.vm
        try:
            self._build(options or {})
            self._load()
            self.vcpu = self.accel.create_vcpu()
            self._reset_vcpu(registers or {})
        except BaseException:
            self.close()
            raise
        self.errors.instruction_pointer = self._instruction_pointer
        self.kernel.on_wake = self._end_slice_soon
        self._connect_wire(arrivals if arrivals is not None else Arrivals())

    def run(
        self, max_instructions: int = DEFAULT_BUDGET, max_seconds: float | None = DEFAULT_SECONDS
    ) -> Ending:
        """Run until the guest ends or its time is up.

        That is after `max_instructions` where they are counted, and where they are not (on
        Linux's KVM) after `max_seconds`.
        Raises KeyboardInterrupt if Ctrl-C was pressed meanwhile, once the guest has left.
        """
        with kicked_by_ctrl_c(self.vcpu):
            ending = self.run_unkicked(Limits(max_instructions, max_seconds))
        self.look_back(ending)
        return ending

    def run_unkicked(self, limits: Limits) -> Ending:
        """The same for who has Ctrl-C in his own hands, and looks back by himself."""
        self.board.start()
        with self.accel.running(limits):
            ending = kvm_cpu_exec(self.vcpu, self.memory, self.ports, self.kernel)
        self.kernel.run_others()  # what the guest has asked for, but not waited for
        return ending

    def look_back(self, ending: Ending) -> None:
        """Report what only the end of a run shows."""
        if self.vm.irqchip is not None:
            from toyvisor.qemu.blocked_interrupts import report_interrupts

            report_interrupts(self, ending)
        if self.vcpu.asleep:
            from toyvisor.qemu.waiting_frames import report_waiting_frames

            report_waiting_frames(self)

    def _instruction_pointer(self) -> int | None:
        """Where the guest stands: behind its last instruction, but on the HLT it sleeps in."""
        if self.vcpu.is_in_guest:
            return None
        return self.vcpu.linear_rip() - int(self.vcpu.asleep)

    def _end_slice_soon(self) -> None:
        """Another thread has been woken: the vCPU's time slice gets an end."""
        self.vcpu.shorten_slice(TIME_SLICE)

    def _connect_wire(self, arrivals: Arrivals) -> None:
        """What comes in from the network: frames by the clock, answers, a real tap, a console."""
        timers, frames = self.kernel.timers, self.program.spec.frames
        if frames == "wire":
            self.net.start_sender(timers, burst=arrivals.burst, interval=arrivals.interval)
        elif frames == "requests":
            self.net.start_requester(timers, lambda: self.vcpu.time, interval=arrivals.interval)
        for tap in self.net.real_files:
            self.kernel.poller.add(tap)
        for terminal in self.console.real_files:
            self.kernel.poller.add(terminal)

    def close(self) -> None:
        """End the virtual machine."""
        self.vm.close()
        self.kernel.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # Building ---------------------------------------------------------------------------

    def _build(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """RAM, and the board on it."""
        spec = self.program.spec
        self.ram = memoryview(mmap.mmap(-1, spec.memory))
        self.vm.set_user_memory_region(0, 0, self.ram)
        self.board = Board(
            spec, self.vm, self.ledger, self.errors, self.kernel, self.console, self.net, options
        )
        self.memory, self.ports = self.board.memory, self.board.ports
        self.devices, self.windows = self.board.devices, self.board.windows

    def _load(self) -> None:
        """Boot tables, program, and the frames it is to send, into guest memory."""
        spec, assembly = self.program.spec, self.program.assembly
        end = assembly.origin + len(assembly.image)
        taken = boot_areas(spec.mode)
        has_table = bool(self.windows) and spec.mode is not CpuMode.REAL and spec.frames == "table"
        if has_table:
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
        if has_table:
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
