"""One piece of guest code on the toy KVM and on Linux's own, and what differs.

Both run the same bytes from the same registers; both are answered by the same devices.
Compared are the exits that userspace sees (reason, address or port, length, data,
direction, count), the registers, RIP and flags at each of them, and what is left in the end:
registers, flags, RAM, device memory.

When does the guest's state change? Linux's rule (arch/x86/kvm/x86.c,
x86_emulate_instruction): an exit for input comes before the instruction has done anything;
an exit for a store comes when the instruction is done, for the store is posted. The toy
stops in the middle of the store, with the state from before. So at a store the toy's *next*
state is what must be found on Linux; that is a difference by design and named here once
(`_posted`).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from zlib import crc32

import linux_kvm

from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.assembly import Assembly
from toyvisor.guest.disassembler import instruction_lengths
from toyvisor.kvm.api import KVM_EXIT_IO_IN, Internal, InternalError, KvmExit, KvmRegs
from toyvisor.kvm.vm import Kvm
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import PML4_START, boot_sregs, write_boot_tables
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

# The guest's memory: RAM, a hole, RAM, two pages of devices, RAM. Real mode reaches the
# middle of it from SEGMENT.
CODE = 0x1000
STACK = 0x8FF0
RAM_OPERAND = 0x7E800
LOW_END = 0x10000
MIDDLE = 0x70000
DEVICE = 0x80000
OPERAND = 0x80800
SECOND_PAGE = 0x81000
DEVICE_END = 0x82000
RAM_END = 0x83000
NO_RAM = 0xA0000
SEGMENT = 0x78000

#: OUT changes nothing but RIP.
OUT = re.compile(rb"\x66?[\xe6\xe7\xee\xef]")
PATTERN = bytes(range(0x81, 0x81 + 64))
RAX, RBX = 0x1122_3344_5566_7788, 0x99AA_BBCC_DDEE_FF00
MODES = {16: CpuMode.REAL, 32: CpuMode.PROTECTED, 64: CpuMode.LONG}

SECONDS = 0.5  # for one guest; it needs some milliseconds
MOST_EXITS = 400
MOST_INSTRUCTIONS = 100_000
MOST_KEPT = 4096  # cases that are remembered with what Linux made of them

CF, PF, AF, ZF, SF, DF, OF = 0x1, 0x4, 0x10, 0x40, 0x80, 0x400, 0x800
#: RF is not compared: processors differ in when they show it between two rounds of REP.
FLAGS = CF | PF | AF | ZF | SF | DF | OF
#: Flags that the manual leaves undefined, by instruction (Intel SDM vol. 2): whatever the
#: silicon makes of them, or Unicorn.
UNDEFINED_FLAGS = {
    r"and|or|xor|test": AF,
    r"shl|shr|sar": AF | OF,
    r"rol|ror|rcl|rcr": OF,
    r"shld|shrd": AF | OF,
    r"i?mul": SF | ZF | AF | PF,
    r"i?div": CF | OF | SF | ZF | AF | PF,
    r"bsf|bsr": CF | OF | SF | AF | PF,
    r"bt[src]?": OF | SF | AF | PF,
}

# Cases ----------------------------------------------------------------------------------

BEFORE = "mov ebp, 5\ncmp ebp, 6\n"
#: An exit directly behind the instruction shows the state it has left.
AFTER = "\nout 0x11, al\nmov ebp, 0x7e57\nhlt\n"
REAL_MODE_SEGMENTS = f"mov bp, {SEGMENT >> 4:#x}\nmov ds, bp\nmov es, bp\n"


@dataclass(frozen=True)
class Case:
    """One piece of guest code and the registers it starts with."""

    family: str
    name: str
    bits: int
    source: str
    registers: tuple[tuple[str, int], ...] = ()
    #: How it ends.
    end: KvmExit = KvmExit.HLT
    #: Whether it must exit before it ends.
    exits: bool = True
    #: KVM_CAP_EXIT_HYPERCALL
    exit_hypercalls: int = 0
    #: What comes first.
    before: str = BEFORE

    @property
    def id(self) -> str:
        return f"{self.family}: {self.name} [{self.bits}]"

    @property
    def compares_in_rounds(self) -> bool:
        return re.search("repn?e (scas|cmps)", self.source) is not None

    @property
    def undefined_flags(self) -> int:
        mnemonics = re.findall(r"^\s*(?:lock )?(\w+)", self.source, re.MULTILINE)
        return sum(
            {
                flag
                for pattern, flags in UNDEFINED_FLAGS.items()
                for flag in (CF, PF, AF, ZF, SF, OF)
                if flag & flags and any(re.fullmatch(pattern, name) for name in mnemonics)
            }
        )

    def undefined_at(self, _rip: int) -> int:
        """The undefined flags before the instruction there."""
        return self.undefined_flags

    def undefined_behind(self, _rip: int) -> int:
        """The undefined flags when it is done."""
        return self.undefined_flags


def case(family: str, name: str, bits: int, source: str, **options: int | KvmExit) -> Case:
    """A case; register names among the options are its start state, addresses linear."""
    registers = {"rax": RAX, "rbx": RBX, "rcx": 0x0102_0304_0506_0708, "rdi": OPERAND}
    registers["rsi"] = RAM_OPERAND - 64
    others = {}
    for key, value in options.items():
        (registers if key[0] == "r" else others)[key] = value
    if bits == 16:
        for key in ("rdi", "rsi"):
            registers[key] -= SEGMENT
    if bits < 64:
        registers = {key: value & 0xFFFFFFFF for key, value in registers.items()}
    return Case(family, name, bits, source, tuple(registers.items()), **others)


# Running --------------------------------------------------------------------------------


@dataclass
class Stop:
    """One return of KVM_RUN."""

    what: tuple[object, ...]
    registers: dict[str, int]
    #: On the toy: guest instructions executed before the present one.
    instructions: int = 0

    @property
    def is_store(self) -> bool:
        return "write" in self.what

    @property
    def rip(self) -> int:
        return self.registers["rip"]

    def state(self, flags: int) -> dict[str, int]:
        found = {name: value for name, value in self.registers.items() if name != "rip"}
        found["rflags"] &= flags
        return found


@dataclass
class Run:
    """All there is to compare of one guest's life."""

    stops: list[Stop] = field(default_factory=list)
    #: Checksums of what the guest has left.
    memory: dict[str, int] = field(default_factory=dict)
    time_is_up: bool = False
    #: On the toy: what it showed when its time was over, by that time.
    cuts: dict[int, Stop] = field(default_factory=dict)


class Board:
    """The memory and the devices around a vCPU, whoever's it is."""

    def __init__(self, of: Case) -> None:
        ends = {0: LOW_END, MIDDLE: DEVICE, DEVICE_END: RAM_END}
        self.memory = {start: mmap.mmap(-1, end - start) for start, end in ends.items()}
        low, middle, high = self.memory.values()
        mode = MODES[of.bits]
        write_boot_tables(memoryview(low), mode)
        code = assemble(of)
        low[CODE : CODE + len(code)] = code
        middle[RAM_OPERAND - 64 - MIDDLE : RAM_OPERAND + 64 - MIDDLE] = PATTERN * 2
        middle[-64:] = PATTERN
        high[:64] = PATTERN
        self.devices = bytearray(PATTERN * ((DEVICE_END - DEVICE) // 64))
        self.input = 0
        self.run = Run()
        start = {"rip": CODE, "rflags": 2, "rsp": STACK} | dict(of.registers)
        self.regs = KvmRegs(**start)
        self.sregs = boot_sregs(mode)

    def play(self, vcpu: object, cuts: Iterable[int] = ()) -> Run:
        """KVM_RUN and answer, to the end. `cuts`: when to look at the toy's registers."""
        times = [*cuts, MOST_INSTRUCTIONS]
        for _ in range(MOST_EXITS):
            vcpu.deadline = times[0]  # Linux's has none
            vcpu.run()
            regs = vcpu.get_regs()
            values = {name: getattr(regs, name) for name, _ in KvmRegs._fields_}
            stop = Stop(self.serve(vcpu.kvm_run), values, getattr(vcpu, "instructions", 0))
            if stop.what[0] == "intr" and len(times) > 1:
                self.run.cuts[times.pop(0)] = stop
                continue
            self.run.stops.append(stop)
            if stop.what[0] not in ("mmio", "io", "hypercall"):
                break
        for start, ram in self.memory.items():
            end = start + len(ram)
            kept = ram[CODE:PML4_START] if start == 0 else ram  # not the tables: accessed bits
            self.run.memory[f"RAM {start:#x}-{end - 1:#x}"] = crc32(kept)
        self.run.memory["device memory"] = crc32(self.devices)
        return self.run

    def serve(self, kvm_run: object) -> tuple[object, ...]:
        """Be the devices; say what KVM wanted."""
        reason = KvmExit(kvm_run.exit_reason)
        if reason == KvmExit.MMIO:
            return self._mmio(kvm_run.mmio)
        if reason == KvmExit.IO:
            return self._io(kvm_run)
        if reason == KvmExit.INTERNAL_ERROR:
            internal = kvm_run.internal
            return ("internal_error", InternalError(internal.suberror).name, self._code(internal))
        if reason == KvmExit.HYPERCALL:
            hypercall = kvm_run.hypercall
            hypercall.ret = 99
            return ("hypercall", hypercall.nr, *hypercall.args[:3])
        return (reason.name.lower(),)

    @staticmethod
    def _code(internal: Internal) -> str:
        """emulation_failure: flags, then (if flag 0 says so) the bytes KVM has fetched."""
        flags, *rest = internal.data[:3]
        if not internal.ndata or not flags & 1:
            return ""
        size, *code = b"".join(word.to_bytes(8, "little") for word in rest)
        return bytes(code[:size]).hex()

    def _mmio(self, mmio: object) -> tuple[object, ...]:
        address, size = mmio.phys_addr, mmio.len
        offset = address - DEVICE
        inside = 0 <= offset <= len(self.devices) - size
        if mmio.is_write:
            data = bytes(mmio.data)[:size]
            if inside:
                self.devices[offset : offset + size] = data
            return ("mmio", "write", address, size, data.hex())
        data = self.devices[offset : offset + size] if inside else b"\xff" * size
        mmio.data[:size] = list(data)
        return ("mmio", "read", address, size)

    def _io(self, kvm_run: object) -> tuple[object, ...]:
        io = kvm_run.io
        size = io.size * io.count
        if io.direction != KVM_EXIT_IO_IN:
            data = kvm_run.mapping[io.data_offset : io.data_offset + size]
            return ("io", "write", io.port, io.size, io.count, data.hex())
        data = bytes((self.input + i) * 7 + 1 & 0xFF for i in range(size))
        self.input += size
        kvm_run.mapping[io.data_offset : io.data_offset + size] = data
        return ("io", "read", io.port, io.size, io.count)


def before(of: Case) -> str:
    """What is executed before the case's own source."""
    return (REAL_MODE_SEGMENTS if of.bits == 16 else "") + of.before


@lru_cache(MOST_KEPT)
def assembly(of: Case) -> Assembly:
    text = before(of) + of.source + AFTER
    return assemble_text(text, mode=MODES[of.bits], origin=CODE)


def assemble(of: Case) -> bytes:
    return bytes(assembly(of).image)


@lru_cache(MOST_KEPT)
def on_linux(of: Case) -> Run:
    """The case on Linux's KVM."""
    board = Board(of)
    vm = linux_kvm.LinuxVm(board.memory, exit_hypercalls=of.exit_hypercalls)
    try:
        vm.set_sregs(board.sregs)
        vm.set_regs(board.regs)
        with linux_kvm.TimeLimit(vm, SECONDS):
            return board.play(vm)
    except linux_kvm.TimeIsUpError:
        board.run.time_is_up = True
        return board.run
    finally:
        vm.close()


def on_the_toy(of: Case, cuts: Iterable[int] = ()) -> Run:
    """The case on the toy KVM."""
    board = Board(of)
    vm = Kvm(Ledger(Trace())).create_vm()
    vm.exit_hypercalls = of.exit_hypercalls
    for slot, (start, ram) in enumerate(board.memory.items()):
        vm.set_user_memory_region(slot, start, memoryview(ram))
    vcpu = vm.create_vcpu()
    try:
        vcpu.set_sregs(board.sregs)
        vcpu.set_regs(board.regs)
        return board.play(vcpu, cuts)
    finally:
        vm.close()


def on_the_toy_with_stores_done(of: Case) -> tuple[Run, Run]:
    """The case on the toy KVM twice: run through, and cut behind each instruction that stores.

    With the cuts an instruction's effect can be compared when it is done, whatever follows it
    (`_posted`).
    """
    through = on_the_toy(of)
    done = {stop.instructions + 1 for stop in through.stops if stop.is_store}
    return through, on_the_toy(of, sorted(done))


def unsupported(of: Case) -> str | None:
    """Why this machine's KVM can't run the case; None if it can."""
    run = on_linux(of)
    if run.time_is_up:
        return "KVM_RUN does not come back"
    last = run.stops[-1]
    if last.what[0] == "internal_error" and of.end != KvmExit.INTERNAL_ERROR:
        return f"KVM_EXIT_INTERNAL_ERROR ({last.what[1]}) at RIP {last.rip:#x}"
    return None


# Comparing ------------------------------------------------------------------------------


def differences(of: Case, toy: Run, linux: Run) -> list[str]:
    """What differs, in words."""
    found = []
    toy_exits, linux_exits = ([stop.what for stop in run.stops] for run in (toy, linux))
    if toy_exits != linux_exits:
        return [f"exits: toy {toy_exits}, Linux {linux_exits}"]
    for i, (ours, theirs) in enumerate(zip(toy.stops, linux.stops, strict=True)):
        if ours.is_store:
            found += _posted(of, toy, i, theirs)
            continue
        if ours.rip != theirs.rip:
            found.append(f"exit {i} {ours.what}: RIP toy {ours.rip:#x}, Linux {theirs.rip:#x}")
        shown = FLAGS & ~of.undefined_at(ours.rip)
        if i and of.compares_in_rounds and ours.rip == toy.stops[i - 1].rip:
            shown &= DF  # Linux writes them back when the loop is done
        found += _state(f"exit {i} {ours.what}", ours.state(shown), theirs.state(shown))
    found += [f"{name} differs" for name in toy.memory if toy.memory[name] != linux.memory[name]]
    return found


def _posted(of: Case, run: Run, i: int, theirs: Stop) -> list[str]:
    """At a store Linux shows what the toy will show when the instruction is done.

    That is where it was cut behind it, else at its next exit, or, if the store is made in
    parts, at the first exit of another instruction. RIP is then behind the instruction; REP
    stays on its own while rounds are left, and at a plain OUT the fast path of VMX and SVM
    stays too (kvm_fast_pio_out).
    """
    toy = run.stops
    ours = toy[i]
    flags = FLAGS & ~of.undefined_behind(ours.rip)
    code = assemble(of)[ours.rip - CODE :][:15]
    length = (*instruction_lengths(code, ours.rip, MODES[of.bits]), 0)[0]
    found = []
    if theirs.rip not in {ours.rip, ours.rip + length}:
        found.append(f"exit {i} {theirs.what}: RIP toy {ours.rip:#x}, Linux {theirs.rip:#x}")
    after = [ours]
    cut = run.cuts.get(ours.instructions + 1)
    if cut and not OUT.match(code):
        after = [cut]
    elif not OUT.match(code):
        at = next((j for j in range(i + 1, len(toy)) if toy[j].rip != ours.rip), i + 1)
        after = toy[i + 1 : at + 1]
    state = theirs.state(flags)
    if state not in [stop.state(flags) for stop in after]:
        found += _state(f"exit {i} {theirs.what}, posted", after[-1].state(flags), state)
    return found


def _state(where: str, ours: dict[str, int], theirs: dict[str, int]) -> list[str]:
    return [
        f"{where}: {name} toy {ours[name]:#x}, Linux {theirs[name]:#x}"
        for name in ours
        if ours[name] != theirs[name]
    ]
