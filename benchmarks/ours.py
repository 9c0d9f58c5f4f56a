"""The same things by Toyvisor."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.bare import DEVICE
from toyvisor.errors import SourceLocation
from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.program import DeviceSpec, MachineSpec, Program
from toyvisor.memory import GuestMemory
from toyvisor.modes import CpuMode
from toyvisor.qemu.machine import Machine
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.driver import DriverQueue
from toyvisor.virtio.split_queue import SplitQueue


def _machine(source: str, devices: tuple[str, ...], *, trace: bool = False) -> Machine:
    origin = 0x100000
    place = SourceLocation("<benchmark>", 1, 1)
    spec = MachineSpec(
        "benchmark",
        CpuMode.LONG,
        devices=tuple(DeviceSpec(name, {}, place) for name in devices),
        origin=origin,
    )
    assembly = assemble_text(source, mode=CpuMode.LONG, origin=origin)
    return Machine(Program(Path("benchmark.s"), "benchmark", spec, assembly), trace=trace)


def exit_loop(count: int, *, trace: bool = False) -> float:
    """Seconds for one store to a card's register: to QEMU's device and back."""
    source = f"mov edi, {DEVICE}\nmov ecx, {count}\n1: mov [rdi+24], eax\ndec ecx\njnz 1b\nhlt"
    with _machine(source, ("mmio-nic",), trace=trace) as machine:
        begin = time.perf_counter()
        machine.run(10 * count)
        elapsed = time.perf_counter() - begin
        assert machine.ledger.userspace_exits == count + 1
    return elapsed / count


class _KernelRegister:
    def read(self, _address: int, _size: int) -> int | None:
        return 0

    def write(self, _address: int, _size: int, _value: int) -> bool:
        return True


def lightweight_exit(count: int) -> float:
    """Seconds for one store that a device in the kernel takes."""
    source = f"mov edi, {DEVICE}\nmov ecx, {count}\n1: mov [rdi+24], eax\ndec ecx\njnz 1b\nhlt"
    with _machine(source, ()) as machine:
        machine.vm.mmio_bus.register(DEVICE, 4096, _KernelRegister())
        begin = time.perf_counter()
        machine.run(10 * count)
        elapsed = time.perf_counter() - begin
        assert machine.ledger.lightweight_exits == count
    return elapsed / count


def instructions(count: int) -> float:
    """Seconds for one plain guest instruction, counted."""
    source = f"mov ecx, {count // 4}\n1: add rax, rcx\nadd rax, 3\ndec rcx\njnz 1b\nhlt"
    with _machine(source, ()) as machine:
        begin = time.perf_counter()
        machine.run(10 * count)
        elapsed = time.perf_counter() - begin
        assert machine.vcpu.instructions >= count
    return elapsed / count


def ring_round_trip(count: int) -> float:
    """Seconds for one buffer on the device's side: pop, push, flush, every check made."""
    size = 256
    memory = GuestMemory()
    memory.add(0, memoryview(bytearray(1 << 20)))
    driver = DriverQueue(memory, 0x1000, size)
    queue = SplitQueue("benchmark", driver.config, memory, Ledger())
    elapsed = 0.0
    for _ in range(count // size):
        for slot in range(size):
            driver.add_buffer(readable=[(0x80000 + 64 * slot, 64)])
        driver.publish()
        begin = time.perf_counter()
        while (chain := queue.pop()) is not None:
            queue.push(chain, 0)
            queue.flush()
        elapsed += time.perf_counter() - begin
        assert len(driver.reap()) == size
    return elapsed / (count // size * size)
