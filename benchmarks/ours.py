"""The same things by Toyvisor."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from benchmarks.bare import DEVICE
from toyvisor.debug.session import Session
from toyvisor.errors import SourceLocation
from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.program import DeviceSpec, MachineSpec, Program, load_program
from toyvisor.host.eventfd import EventFd
from toyvisor.host.net import NetBackend
from toyvisor.kvm.vm import Vm
from toyvisor.learn.frames import numbered_frames
from toyvisor.memory import GuestMemory
from toyvisor.modes import CpuMode
from toyvisor.qemu.machine import Arrivals, Machine
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.driver import DriverQueue
from toyvisor.virtio.split_queue import SplitQueue

_PLACES = random.Random(1)


def _machine(
    source: str,
    devices: tuple[str, ...],
    *,
    trace: bool = False,
    registers: dict[str, int] | None = None,
) -> Machine:
    return Machine(_program_of(source, devices), trace=trace, registers=registers)


def _program_of(source: str, devices: tuple[str, ...]) -> Program:
    origin = 0x100000
    place = SourceLocation("<benchmark>", 1, 1)
    spec = MachineSpec(
        "benchmark",
        CpuMode.LONG,
        devices=tuple(DeviceSpec(name, {}, place) for name in devices),
        origin=origin,
    )
    assembly = assemble_text(source, mode=CpuMode.LONG, origin=origin)
    return Program(Path("benchmark.s"), "benchmark", spec, assembly)


#: About a million instructions: each round looks at a register, works, and prints.
_ROUND = 250
_LONG_RUN = f"""
        mov     edi, {DEVICE}
        mov     r15d, {1_000_000 // _ROUND}
round:  mov     ecx, {(_ROUND - 8) // 2}
work:   dec     ecx
        jnz     work
        mov     eax, [rdi]
        mov     al, '.'
        out     0xe9, al
        dec     r15d
        jnz     round
        hlt
"""
_LONG_RUN_DEVICES = ("mmio-nic", "debugcon")


def long_run() -> float:
    """Seconds for a run of a million instructions."""
    with _machine(_LONG_RUN, _LONG_RUN_DEVICES) as machine:
        begin = time.perf_counter()
        machine.run()
        elapsed = time.perf_counter() - begin
        assert machine.vcpu.instructions is not None
        assert machine.vcpu.instructions > 990_000
    return elapsed


def recorded_run() -> float:
    """Seconds for the same, recorded, with all checkpoints."""
    with Session(_program_of(_LONG_RUN, _LONG_RUN_DEVICES)) as session:
        begin = time.perf_counter()
        session.go_to_end()
        elapsed = time.perf_counter() - begin
        assert session.frontier.instructions > 990_000
    return elapsed


@cache
def _recorded() -> Session:
    session = Session(_program_of(_LONG_RUN, _LONG_RUN_DEVICES))
    session.go_to_end()
    return session


def worst_step_back(count: int) -> float:
    """Seconds for the slowest of some steps back, anywhere in that run."""
    return max(_at_random(count, lambda session: session.step_back()))


def median_step_back(count: int) -> float:
    """Seconds for one of them, in the middle."""
    return statistics.median(_at_random(count, lambda session: session.step_back()))


def median_step(count: int) -> float:
    """Seconds for one step forward, in the middle."""
    return statistics.median(_at_random(count, lambda session: session.step()))


def _at_random(count: int, move: Callable[[Session], object]) -> list[float]:
    session, times = _recorded(), []
    for _ in range(count):
        session.go_to_instruction(_PLACES.randrange(1, session.frontier.instructions))
        begin = time.perf_counter()
        move(session)
        times.append(time.perf_counter() - begin)
    return times


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
    """A device of KVM's own; a store to it is an edge on a line, if it is given one."""

    def __init__(self, signal: Callable[[], None] = lambda: None) -> None:
        self._signal = signal

    def accepts(self, _address: int, _size: int, _value: int | None) -> bool:
        return True

    def read(self, _address: int, _size: int) -> int | None:
        return 0

    def write(self, _address: int, _size: int, _value: int) -> bool:
        self._signal()
        return True


def _vm(machine: Machine) -> Vm:
    """The toy KVM's."""
    assert isinstance(machine.vm, Vm)
    return machine.vm


def lightweight_exit(count: int) -> float:
    """Seconds for one store that a device in the kernel takes."""
    source = f"mov edi, {DEVICE}\nmov ecx, {count}\n1: mov [rdi+24], eax\ndec ecx\njnz 1b\nhlt"
    with _machine(source, ()) as machine:
        _vm(machine).mmio_bus.register(DEVICE, 4096, _KernelRegister())
        begin = time.perf_counter()
        machine.run(10 * count)
        elapsed = time.perf_counter() - begin
        assert machine.ledger.lightweight_exits == count
    return elapsed / count


def ioeventfd_kick(count: int) -> float:
    """Seconds for one store that KVM turns into a signal on an eventfd."""
    source = f"mov edi, {DEVICE}\nmov ecx, {count}\n1: mov [rdi+24], eax\ndec ecx\njnz 1b\nhlt"
    with _machine(source, ()) as machine:
        eventfd = EventFd("kick")
        machine.vm.ioeventfd(eventfd, DEVICE + 24, 4, 0)
        begin = time.perf_counter()
        machine.run(10 * count)
        elapsed = time.perf_counter() - begin
        assert eventfd.count == machine.ledger.lightweight_exits == count
    return elapsed / count


#: Each store asks for an interrupt. The controller ends them by itself (AEOI), so that one
#: interrupt is: the store's exit, an edge, the injection, the handler's IRETQ.
_INTERRUPTS = f"""
.include "machine.inc"
.include "idt.inc"
_start: idt_gate64 PIC_MASTER_VECTORS + 5, handler
        lidt    [rip + idtr]
        call    pic_init
        mov     al, PIC_ICW1 | PIC_ICW1_IC4
        out     PIC_MASTER_CMD, al
        mov     al, PIC_MASTER_VECTORS
        out     PIC_MASTER_IMR, al
        mov     al, 1 << PIC_CASCADE_IR
        out     PIC_MASTER_IMR, al
        mov     al, PIC_ICW4_UPM | PIC_ICW4_AEOI
        out     PIC_MASTER_IMR, al
        mov     al, ~(1 << 5) & 0xff
        out     PIC_MASTER_IMR, al
        mov     edi, {DEVICE}
        xor     ebx, ebx
        sti
1:      mov     [rdi+24], eax
        dec     ecx
        jnz     1b
        cli
        hlt
handler: inc    ebx
        iretq
idtr:   idt_pointer64
.include "pic.inc"
"""


def interrupt(count: int) -> float:
    """Seconds for one interrupt of the guest, with the store that asks for it."""
    with _machine(_INTERRUPTS, ("pic",), registers={"rcx": count}) as machine:
        vm = _vm(machine)

        def edge() -> None:
            vm.set_irq(5, 1)
            vm.set_irq(5, 0)

        vm.mmio_bus.register(DEVICE, 4096, _KernelRegister(edge))
        begin = time.perf_counter()
        machine.run(10 * count + 1000)
        elapsed = time.perf_counter() - begin
        assert machine.ledger.injected == machine.vcpu.get_regs().rbx == count
    return elapsed / count


def transmit(count: int) -> float:
    """Seconds for one frame of 64 bytes that virtio-net sends, 64 for each kick."""
    return _packets("virtio_net_tx_batch", count, {"r12": 64}, lambda machine: machine.net.sent)


def receive(count: int) -> float:
    """Seconds for one frame of 64 bytes that virtio-net receives, by interrupts."""
    return _packets("virtio_net_rx", count, {}, lambda machine: machine.net.received)


def _packets(
    name: str, count: int, registers: dict[str, int], passed: Callable[[Machine], list[bytes]]
) -> float:
    frames = numbered_frames(count, 64)
    arrivals = Arrivals(burst=64)
    with Machine(_program(name), NetBackend(frames), registers=registers,
                 arrivals=arrivals) as machine:  # fmt: skip
        begin = time.perf_counter()
        machine.run(1000 * count)
        elapsed = time.perf_counter() - begin
        assert len(passed(machine)) == count
    return elapsed / count


@cache
def _program(name: str) -> Program:
    return load_program(name)


def instructions(count: int) -> float:
    """Seconds for one plain guest instruction, counted."""
    source = f"mov ecx, {count // 4}\n1: add rax, rcx\nadd rax, 3\ndec rcx\njnz 1b\nhlt"
    with _machine(source, ()) as machine:
        begin = time.perf_counter()
        machine.run(10 * count)
        elapsed = time.perf_counter() - begin
        assert (machine.vcpu.instructions or 0) >= count
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
