"""A guest's registers as gdb reads and writes them: bytes, in the order of its description."""

from __future__ import annotations

from itertools import accumulate

from toyvisor.cpu.fpu import FpuState, read_fpu
from toyvisor.cpu.registers import GENERAL, Registers
from toyvisor.debug.gdb.target_description import Register, describe
from toyvisor.debug.session import Session
from toyvisor.errors import UsageError
from toyvisor.kvm.api import KvmRegs, KvmSregs

#: The bases of FS and GS in 64-bit code (Intel SDM vol. 4, table 2-2).
_BASES = {"fs_base": 0xC0000100, "gs_base": 0xC0000101}
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
_CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")


class RegisterFile:
    """The registers at the session's moment, whichever that is.

    General registers, RIP and RFLAGS can be written: that begins a what-if branch, if it is
    another value than before.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bits = session.program.spec.mode.bits
        self.description = describe(session.program.spec.mode)
        self._registers = self.description.registers
        self._starts = [0, *accumulate(register.size for register in self._registers)]

    def read_all(self) -> bytes:
        """The data of a `g` packet."""
        session = self._session
        cpu = session.vcpu.cpu.registers
        values = _general(session.registers()) | _special(session.sregs())
        values |= _floating(read_fpu(cpu, self._bits))
        if self._bits == 64:
            values |= _bases(cpu)
        return b"".join(_bytes(register, values[register.name]) for register in self._registers)

    def read(self, number: int) -> bytes:
        """One of them. Raises UsageError if there is none of that number."""
        self._register(number)
        return self.part(self.read_all(), number)

    def part(self, everything: bytes, number: int) -> bytes:
        """One of them out of the data of a `g` packet."""
        return everything[self._starts[number] : self._starts[number + 1]]

    def write(self, number: int, data: bytes) -> None:
        """Set one. Raises UsageError for one that can't be set, or a wrong length."""
        register = self._register(number)
        if len(data) != register.size:
            raise UsageError(f"{register.name} has {register.size} bytes, not {len(data)}")
        if self.read(number) == data:
            return
        name = _whole(register.name)
        if name not in GENERAL:
            raise UsageError(
                f"{register.name} can't be changed", hint="general registers, rip and eflags can"
            )
        self._session.set_register(name, int.from_bytes(data, "little"))

    def write_all(self, data: bytes) -> None:
        """The data of a `G` packet. Only what differs is set."""
        if len(data) != self._starts[-1]:
            raise UsageError(f"{len(data)} bytes are not all registers")
        for number in range(len(self._registers)):
            self.write(number, self.part(data, number))

    def number(self, *names: str) -> int:
        """The number of the register that has one of these names."""
        return [register.name in names for register in self._registers].index(True)

    def _register(self, number: int) -> Register:
        if not 0 <= number < len(self._registers):
            raise UsageError(f"there is no register {number}")
        return self._registers[number]


def _whole(name: str) -> str:
    """KVM's name: eflags is the lower half of rflags, eax of rax."""
    return f"r{name[1:]}" if name.startswith("e") and name != "efer" else name


def _general(regs: KvmRegs) -> dict[str, int | bytes]:
    values: dict[str, int | bytes] = {name: int(getattr(regs, name)) for name in GENERAL}
    return values | {f"e{name[1:]}": value for name, value in values.items()}


def _special(sregs: KvmSregs) -> dict[str, int | bytes]:
    selectors = {name: int(getattr(sregs, name).selector) for name in _SEGMENTS}
    return {**selectors, **{name: int(getattr(sregs, name)) for name in _CONTROL}}


def _floating(fpu: FpuState) -> dict[str, int | bytes]:
    return {
        **{f"st{number}": data for number, data in enumerate(fpu.st)},
        **{f"xmm{number}": data for number, data in enumerate(fpu.xmm)},
        "fctrl": fpu.fcw, "fstat": fpu.fsw, "ftag": fpu.tags, "fiseg": fpu.fcs, "fioff": fpu.fip,
        "foseg": fpu.fds, "fooff": fpu.fdp, "fop": fpu.fop, "mxcsr": fpu.mxcsr,
    }  # fmt: skip


def _bases(registers: Registers) -> dict[str, int | bytes]:
    return {name: registers.read_msr(index) for name, index in _BASES.items()}


def _bytes(register: Register, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value & (1 << register.bits) - 1).to_bytes(register.size, "little")
