"""Interrupts at one moment: the 8259s, the 8254, the vectors, and what is in an interrupt's way."""

from __future__ import annotations

from toyvisor.debug.views.interrupt_rows import ChipView as ChipView
from toyvisor.debug.views.interrupt_rows import InterruptsView as InterruptsView
from toyvisor.debug.views.interrupt_rows import LineRow as LineRow
from toyvisor.debug.views.interrupt_rows import PitChannel as PitChannel
from toyvisor.debug.views.interrupt_rows import PitView as PitView
from toyvisor.debug.views.interrupt_rows import VectorRow as VectorRow
from toyvisor.debug.views.kernel_devices import controllers, timer
from toyvisor.debug.views.registers import processor
from toyvisor.debug.views.vector_table import VectorTable
from toyvisor.debug.views.why_no_interrupt import why_no_interrupt as why_no_interrupt
from toyvisor.guest.program import Program
from toyvisor.kvm.i8254 import Pit
from toyvisor.kvm.i8254_channel import NO_MODE
from toyvisor.kvm.i8259 import PicPair
from toyvisor.kvm.i8259_chip import PicState
from toyvisor.kvm.i8259_registers import CASCADE_IR, NUM_PINS
from toyvisor.qemu.machine import Machine

_MODES = (
    "interrupt on terminal count", "one-shot", "rate generator", "square wave", "software strobe",
    "hardware strobe",
)  # fmt: skip
_PURPOSES = ("IRQ 0", "refresh", "speaker")


def interrupts(machine: Machine, program: Program | None = None) -> InterruptsView:
    """All of it; with the labels of handlers, if the program is given."""
    vcpu = processor(machine)
    cpu = vcpu.cpu
    chips, pit = controllers(machine), timer(machine)
    table = VectorTable(machine, program)
    cpu.state.load()
    return InterruptsView(
        chips is not None,
        tuple(_chip(n, state) for n, state in enumerate(chips.get_irqchip())) if chips else (),
        tuple(_line(machine, chips, irq) for irq in range(NUM_PINS)) if chips else (),
        chips.output if chips is not None else 0,
        _pit(pit, vcpu.time) if pit is not None else None,
        cpu.interrupts_are_on,
        cpu.state.in_shadow,
        vcpu.asleep,
        table.name,
        table.base,
        table.limit,
        table.rows(),
        _injecting(machine),
    )


def changed_interrupts(before: InterruptsView | None, now: InterruptsView) -> frozenset[str]:
    """What is not as it was: `irr0`, `imr1`, `irq5`, `IF`, `intr`, `pit0`, `vector37`."""
    if before is None:
        return frozenset()
    old, new = _by_name(before), _by_name(now)
    return frozenset(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _by_name(view: InterruptsView) -> dict[str, object]:
    found: dict[str, object] = {
        "IF": view.interrupts_enabled, "intr": view.intr, "shadow": view.in_shadow,
        "asleep": view.asleep, "injecting": view.injecting,
        "table": (view.table_base, view.table_limit),
    }  # fmt: skip
    for number, chip in enumerate(view.chips):
        for name in ("irr", "imr", "isr", "elcr"):
            found[f"{name}{number}"] = getattr(chip, name)
        found[f"chip{number}"] = (chip.vector_base, chip.is_initialized, chip.waits_for, chip.modes)
    for line in view.lines:
        found[f"irq{line.irq}"] = line[2:6]
    if view.pit is not None:
        found["pit"] = (view.pit.next_expiry, view.pit.pending)
        for channel in view.pit.channels:
            found[f"pit{channel.number}"] = (channel.mode, channel.count, channel.gate)
    for row in view.vectors:
        found[f"vector{row.vector}"] = row
    return found


def _chip(number: int, state: PicState) -> ChipView:
    modes = (
        ("AEOI", state.auto_eoi),
        ("rotates on AEOI", state.rotate_on_auto_eoi),
        ("special mask", state.special_mask),
        ("special fully nested", state.special_fully_nested_mode),
        ("poll", state.poll),
        ("reads ISR", state.read_reg_select),
    )
    return ChipView(
        ("master", "slave")[number],
        state.irr,
        state.imr,
        state.isr,
        state.elcr,
        state.irq_base,
        bool(state.initialized),
        ("", "ICW2", "ICW3", "ICW4")[state.init_state],
        ", ".join(name for name, is_on in modes if is_on),
        8 * number + state.priority_add,
    )


def _line(machine: Machine, chips: PicPair, irq: int) -> LineRow:
    pic, bit = chips.pics[irq >> 3], 1 << (irq & 7)
    device = machine.board.lines.get(irq, "")
    if irq == CASCADE_IR and not device:
        device = "the slave"
    return LineRow(
        irq,
        device,
        int(bool(pic.irq_states & bit)),
        bool(pic.irr & bit),
        bool(pic.imr & bit),
        bool(pic.isr & bit),
        pic.irq_base + (irq & 7),
        "level" if pic.elcr & bit else "edge",
        chips.why_not(irq) or "",
    )


def _pit(pit: Pit, now: int) -> PitView:
    state = pit.get_state()
    channels = []
    for number, channel in enumerate(pit.channels):
        elapsed = pit.elapsed(number)
        is_set = channel.mode != NO_MODE
        channels.append(
            PitChannel(
                number,
                _PURPOSES[number],
                channel.mode if is_set else None,
                _MODES[channel.mode] if is_set else "no mode set",
                channel.count,
                channel.now_at(elapsed),
                channel.out(elapsed),
                channel.gate,
            )
        )
    due = state.next_expiry
    return PitView(
        tuple(channels),
        due,
        max(0, due - now) if due is not None else None,
        state.period if state.is_periodic else 0,
        state.pending,
        bool(state.reinject),
    )


def _injecting(machine: Machine) -> str:
    vcpu = processor(machine)
    events = vcpu.events
    if vcpu.cpu.is_injecting:
        return "KVM has an interrupt ready: the processor delivers it at the next entry"
    if events.nmis_pending:
        return "an NMI waits"
    if events.requested:
        return "an interrupt waits until the guest can take it"
    return ""
