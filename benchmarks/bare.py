"""The baselines: what a plain script over the `unicorn` package costs for the same thing."""

from __future__ import annotations

import statistics
import struct
import time

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDI, UC_X86_REG_RIP

DEVICE = 0xD0000000
CODE = 0x1000
STORE_LOOP = bytes.fromhex("894718ffc975f9f4")  # mov [rdi+24],eax; dec ecx; jnz; hlt
STORE_LENGTH = 3
COUNT_LOOP = bytes.fromhex("4801c84883c00348ffc975f4f4")


def _engine(code: bytes, count: int) -> Uc:
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0, 2 << 20)
    uc.mem_write(CODE, code)
    uc.reg_write(UC_X86_REG_RDI, DEVICE)
    uc.reg_write(UC_X86_REG_RCX, count)
    return uc


def exit_loop(count: int) -> float:
    """Seconds for one exit: stop in the callback, read RIP, step over, start again."""
    uc = _engine(STORE_LOOP, count)
    seen = []

    def write(engine: Uc, offset: int, size: int, value: int, _data: object) -> None:
        seen.append((offset, size, value))
        engine.emu_stop()

    uc.mmio_map(DEVICE, 0x1000, None, None, write, None)
    rip = CODE
    begin = time.perf_counter()
    for _ in range(count):
        uc.emu_start(rip, CODE + len(STORE_LOOP) - 1)
        rip = uc.reg_read(UC_X86_REG_RIP) + STORE_LENGTH
    return (time.perf_counter() - begin) / count


def mmio_callback(count: int) -> float:
    """Seconds for one store handled inside the binding's own mmio callback."""
    uc = _engine(STORE_LOOP, count)
    seen = 0

    def write(_engine: Uc, _offset: int, _size: int, value: int, _data: object) -> None:
        nonlocal seen
        seen += 1

    uc.mmio_map(DEVICE, 0x1000, None, None, write, None)
    begin = time.perf_counter()
    uc.emu_start(CODE, CODE + len(STORE_LOOP) - 1)
    elapsed = time.perf_counter() - begin
    assert seen == count
    return elapsed / count


def instructions(count: int) -> float:
    """Seconds for one plain guest instruction, without a count."""
    uc = _engine(COUNT_LOOP, count // 4)
    begin = time.perf_counter()
    uc.emu_start(CODE, CODE + len(COUNT_LOOP) - 1)
    elapsed = time.perf_counter() - begin
    assert uc.reg_read(UC_X86_REG_RAX)
    return elapsed / count


def descriptor_reads(count: int) -> float:
    """Seconds for following one buffer by `mem_read`: avail.idx, entry, descriptor."""
    uc = _engine(STORE_LOOP, 0)
    table, available, used = 0x20000, 0x21000, 0x22000
    begin = time.perf_counter()
    for turn in range(count):
        struct.unpack("<H", uc.mem_read(available + 2, 2))
        (head,) = struct.unpack("<H", uc.mem_read(available + 4 + 2 * (turn % 256), 2))
        struct.unpack("<QIHH", uc.mem_read(table + 16 * head, 16))
        uc.mem_write(used + 4 + 8 * (turn % 256), struct.pack("<II", head, 0))
        uc.mem_write(used + 2, struct.pack("<H", turn & 0xFFFF))
    return (time.perf_counter() - begin) / count


def restore(count: int) -> float:
    """Seconds for making a processor and its 2 MiB what they were, without a thought."""
    uc = _engine(COUNT_LOOP, 1)
    uc.emu_start(CODE, CODE + len(COUNT_LOOP) - 1)
    ram, processor = bytes(uc.mem_read(0, 2 << 20)), uc.context_save()
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        uc.mem_write(0, ram)
        uc.context_restore(processor)
        uc.ctl_flush_tb()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


START_SCRIPT = """
from unicorn import Uc, UC_ARCH_X86, UC_MODE_16, UC_HOOK_INSN
from unicorn.x86_const import UC_X86_INS_OUT, UC_X86_REG_RAX, UC_X86_REG_RBX
uc = Uc(UC_ARCH_X86, UC_MODE_16)
uc.mem_map(0, 2 << 20)
uc.mem_write(0x1000, bytes.fromhex("baf80300d80430eeb00aeef4"))
uc.reg_write(UC_X86_REG_RAX, 2)
uc.reg_write(UC_X86_REG_RBX, 2)
uc.hook_add(UC_HOOK_INSN, lambda uc, port, size, value, data: print(chr(value), end=""),
            None, 1, 0, UC_X86_INS_OUT)
uc.emu_start(0x1000, 0x100b)
"""
