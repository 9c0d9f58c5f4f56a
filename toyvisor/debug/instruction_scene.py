"""The present instruction with the values that it will find: registers, addresses, memory."""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.cpu.registers import CONTROL, GENERAL
from toyvisor.debug.register_names import PARTS
from toyvisor.debug.views.guest_map import NOTHING, RamPlace, place_in_ram
from toyvisor.debug.views.labels import labels_of
from toyvisor.debug.views.memory import segment_base
from toyvisor.debug.views.register_places import RegisterPlace, register_at
from toyvisor.debug.views.registers import processor
from toyvisor.guest.decoded import Decoded, Operand, OperandKind, decode
from toyvisor.guest.disassembler import MAX_INSTRUCTION_BYTES
from toyvisor.guest.program import Program
from toyvisor.modes import CpuMode
from toyvisor.qemu.machine import Machine

_MODES = {mode.bits: mode for mode in CpuMode}
_STACK_BASES = frozenset(("rsp", "rbp", "esp", "ebp", "sp", "bp"))
_SEGMENTS = frozenset(("cs", "ds", "es", "fs", "gs", "ss"))
_WIDEST_VALUE = 8


class Spot(NamedTuple):
    """A place in memory that an instruction touches.

    `physical` None: no page is mapped there. `value`: what is there now, if it is RAM.
    `register`: of which device, if it is none.
    """

    linear: int
    size: int
    physical: int | None
    is_ram: bool
    value: int | None
    ram: RamPlace
    register: RegisterPlace | None

    @property
    def name(self) -> str:
        """What is there, if anybody knows."""
        if self.register is not None:
            return f"{self.register.register} of {self.register.device}"
        return self.ram.text


class Scene:
    """One instruction about to be executed, and the machine around it."""

    def __init__(self, machine: Machine, program: Program, decoded: Decoded) -> None:
        self.machine = machine
        self.program = program
        self.decoded = decoded
        vcpu = processor(machine)
        self.cpu = vcpu.cpu
        self.bits = vcpu.cpu.view.code_bits()
        self._registers = dict(zip(GENERAL, vcpu.cpu.registers.general(), strict=True))
        self._selectors = vcpu.get_sregs()

    @property
    def operands(self) -> tuple[Operand, ...]:
        """As written, the first is the destination."""
        return self.decoded.operands

    @property
    def rflags(self) -> int:
        """The flags."""
        return self._registers["rflags"]

    def flag(self, name: str) -> int:
        """One flag: CF, ZF, ..."""
        return PARTS[name.lower()].of(self.rflags)

    def register(self, name: str) -> int | None:
        """A register, or part of one, by name; None for one that is not shown (xmm0, ...)."""
        part = PARTS.get(name)
        if part is None:
            return None
        if part.register in self._registers:
            return part.of(self._registers[part.register])
        if part.register in _SEGMENTS:
            return int(getattr(self._selectors, part.register).selector)
        if part.register in CONTROL:
            return part.of(self.cpu.registers.read_special(CONTROL[part.register]))
        return None

    def known(self, name: str) -> int:
        """A general register, which has always a value."""
        return self.register(name) or 0

    # Operands ----------------------------------------------------------------------------

    def value(self, operand: Operand) -> int | None:
        """What an operand is now; None: a device's register, or wider than 8 bytes."""
        match operand.kind:
            case OperandKind.REGISTER:
                return self.register(operand.register)
            case OperandKind.IMMEDIATE:
                return operand.value & (1 << 8 * operand.size) - 1
        return self.spot_of(operand).value

    def linear(self, operand: Operand) -> int:
        """The linear address of an operand in memory."""
        return self.effective(operand) + self._base_of(operand) & self._linear_mask

    def effective(self, operand: Operand) -> int:
        """Its offset in the segment: what LEA computes."""
        total = operand.value
        if operand.base in ("rip", "eip"):
            total += self.decoded.address + self.decoded.size
        elif operand.base:
            total += self.register(operand.base) or 0
        if operand.index:
            total += (self.register(operand.index) or 0) * operand.scale
        return total & (1 << self.decoded.address_bits) - 1

    def _base_of(self, operand: Operand) -> int:
        segment = operand.segment or ("ss" if operand.base in _STACK_BASES else "ds")
        return segment_base(self.machine, segment)

    @property
    def _linear_mask(self) -> int:
        return (1 << 64) - 1 if self.bits == 64 else (1 << 32) - 1

    def spot_of(self, operand: Operand) -> Spot:
        """Where an operand in memory is."""
        return self.spot(self.linear(operand), operand.size)

    def spot(self, linear: int, size: int) -> Spot:
        """A place by linear address."""
        physical = self.cpu.view.translate(linear)
        memory = self.machine.vm.memory
        if physical is None:
            return Spot(linear, size, None, is_ram=False, value=None, ram=NOTHING, register=None)
        is_ram = memory.contains(physical, max(size, 1))
        value = None
        if is_ram and 0 < size <= _WIDEST_VALUE:
            value = int.from_bytes(memory.view(physical, size), "little")
        ram = place_in_ram(self.machine, self.program, physical) if is_ram else NOTHING
        register = None if is_ram else register_at(self.machine, physical)
        return Spot(linear, size, physical, is_ram, value, ram, register)

    def stack(self, number: int, size: int) -> int | None:
        """The stack's top element of `size` bytes, or one of those above it."""
        pointer = self.register({64: "rsp", 32: "esp"}.get(self.bits, "sp")) or 0
        base = segment_base(self.machine, "ss")
        return self.spot(pointer + base + number * size & self._linear_mask, size).value

    # Words -------------------------------------------------------------------------------

    def place(self, address: int) -> str:
        """`0x100038 (wait_reset)`."""
        label = labels_of(self.program).near(address)
        return f"{address:#x} ({label})" if label else f"{address:#x}"

    def named(self, operand: Operand) -> str:
        """An operand as a place: `eax`, `[0x20082] (avail.idx of transmitq)`."""
        if operand.kind is OperandKind.REGISTER:
            return operand.register
        if operand.kind is OperandKind.IMMEDIATE:
            return number(self.value(operand))
        return spot_text(self.spot_of(operand))

    def said(self, operand: Operand) -> str:
        """An operand with its value: `eax (0x5)`, `0x5`, `[0x20082] (avail.idx: 0x3)`."""
        if operand.kind is OperandKind.IMMEDIATE:
            return number(self.value(operand))
        if operand.kind is OperandKind.REGISTER:
            value = self.value(operand)
            return operand.register if value is None else f"{operand.register} ({number(value)})"
        spot = self.spot_of(operand)
        if spot.value is None:
            return spot_text(spot)
        inside = f"{spot.name}: " if spot.name else ""
        return f"[{spot.linear:#x}] ({inside}{number(spot.value)})"


def spot_text(spot: Spot) -> str:
    """`[0x20082] (avail.idx of transmitq)`. A device's register is told apart (`Spot.name`)."""
    name = spot.ram.text
    return f"[{spot.linear:#x}] ({name})" if name else f"[{spot.linear:#x}]"


def number(value: int | None) -> str:
    """Small numbers in decimal, others in hexadecimal."""
    if value is None:
        return "?"
    return str(value) if value < 10 else f"{value:#x}"


def scene_at(machine: Machine, program: Program, linear: int | None = None) -> Scene | None:
    """The instruction at a linear address (None: the present one), if there is one."""
    view = processor(machine).cpu.view
    where = view.rip() if linear is None else linear
    code = view.read(where, MAX_INSTRUCTION_BYTES)
    decoded = decode(code, where, _MODES[view.code_bits()]) if code else None
    return Scene(machine, program, decoded) if decoded is not None else None
