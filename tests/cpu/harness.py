"""A processor on a bench: RAM, a hole in it that exits, and a shadow memory behind the hole.

The same instruction runs once with its operand in RAM and once with its operand in the
hole. Every exit is answered from the shadow memory, so both runs must end alike.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

from toyvisor.cpu.exit_door import KernelHalf
from toyvisor.cpu.registers import CONTROL, GENERAL
from toyvisor.cpu.world_switch import Cpu
from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.disassembler import instruction_lengths
from toyvisor.memory import GuestMemory
from toyvisor.modes import CpuMode

CODE = 0x1000
STACK = 0x8000
RAM_OPERAND = 0x9800  # the same offset in its page as HOLE_OPERAND
HOLE = 0xC000
HOLE_END = 0xE000
HOLE_OPERAND = 0xC800
RAM_END = 0x10000

MODES = {16: CpuMode.REAL, 32: CpuMode.PROTECTED, 64: CpuMode.LONG}


@dataclass
class Exit:
    """One exit as the test sees it, with the guest's state at that moment."""

    reason: ExitReason
    address: int
    size: int
    is_write: bool
    value: int
    count: int = 1
    rip: int = 0
    rflags: int = 0
    registers: dict[str, int] = field(default_factory=dict)

    @property
    def access(self) -> tuple[str, int, int, int]:
        kind = "write" if self.is_write else "read"
        return (kind, self.address, self.size, self.value)


class Bench:
    """One processor with `code` at CODE; `memory` presets bytes anywhere."""

    def __init__(self, bits: int, source: str, **registers: int) -> None:
        self.bits = bits
        assembly = assemble_text(source, mode=MODES[bits], origin=CODE)
        self.listing = assembly.listing
        self.symbols = assembly.symbols
        self.low = memoryview(mmap.mmap(-1, HOLE))
        self.high = memoryview(mmap.mmap(-1, RAM_END - HOLE_END))
        self.shadow = bytearray(HOLE_END - HOLE)
        memory = GuestMemory()
        memory.add(0, self.low)
        memory.add(HOLE_END, self.high)
        self.low[CODE : CODE + len(assembly.image)] = assembly.image
        self.exit_counts = [0] * 80
        self.ports: dict[int, int] = {}
        self.exits: list[Exit] = []

        def lengths(code: bytes, address: int, bits: int) -> list[int]:
            return instruction_lengths(code, address, MODES[bits])

        kernel = KernelHalf(
            lambda gpa, size: None,
            lambda gpa, size, value: False,
            lambda port, size: None,
            lambda port, size, value: False,
            lambda leaf, subleaf: (leaf, 0x22, subleaf, 0x44),
        )
        self.cpu = Cpu(bits, memory, self.exit_counts, kernel, lengths)
        self.cpu.registers.write_special(CONTROL["cr4"], 0x600)  # OSFXSR, OSXMMEXCPT
        start = {"rip": CODE, "rsp": STACK, "rflags": 2} | registers
        self.cpu.registers.set_general(tuple(start.get(name, 0) for name in GENERAL))

    def fill(self, address: int, data: bytes) -> None:
        for offset, byte in enumerate(data):
            at = address + offset
            if at < HOLE:
                self.low[at] = byte
            elif at < HOLE_END:
                self.shadow[at - HOLE] = byte
            else:
                self.high[at - HOLE_END] = byte

    def peek(self, address: int, length: int) -> bytes:
        def byte(at: int) -> int:
            if at < HOLE:
                return self.low[at]
            return self.shadow[at - HOLE] if at < HOLE_END else self.high[at - HOLE_END]

        return bytes(byte(at) for at in range(address, address + length))

    def step(self, reply: int = 0) -> Exit:
        """Enter; the next exit with the guest's state at it."""
        raw = self.cpu.enter(reply)
        if len(raw) >= 5:  # a load, a store, IN or OUT
            found = Exit(ExitReason(raw[0]), *raw[1:])
        else:
            found = Exit(ExitReason(raw[0]), raw[1] if len(raw) > 1 else 0, 0, False, 0)
        found.registers = dict(zip(GENERAL, self.cpu.registers.general(), strict=True))
        found.rip, found.rflags = self.cpu.view.rip(), found.registers["rflags"]
        self.exits.append(found)
        return found

    def run(self, limit: int = 200) -> Exit:
        """Run to HLT (or another end), answering every access from the shadow memory."""
        reply = 0
        for _ in range(limit):
            found = self.step(reply)
            reply = 0
            if found.reason == ExitReason.IO_INSTRUCTION:
                if not found.is_write:
                    reply = self.ports.get(found.address, 0)
                continue
            if not found.size:
                return found
            at = found.address - HOLE
            if found.is_write:
                self.shadow[at : at + found.size] = found.value.to_bytes(found.size, "little")
            else:
                reply = int.from_bytes(self.shadow[at : at + found.size], "little")
        raise AssertionError(f"no end after {limit} exits")

    @property
    def accesses(self) -> list[tuple[str, int, int, int]]:
        return [e.access for e in self.exits if e.size]

    @property
    def state(self) -> dict[str, int]:
        return dict(zip(GENERAL, self.cpu.registers.general(), strict=True))

    def close(self) -> None:
        self.cpu.close()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
