"""Where a run on Linux's KVM may differ from one on the toy, and why: one table.

Everything that is not in it is the same: each exit to QEMU (reason, address or port, width, count,
direction, data), how the run ends, the console, the packets, the registers and flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    """Why two KVMs can differ."""

    TIME = "time"  # the toy counts instructions, Linux has a clock
    SOFTWARE = "software KVM"  # this machine's KVM has no hardware under it
    ALWAYS = "always"


class Difference(NamedTuple):
    """One entry: which facts may differ, why, and the reason in words."""

    cause: Cause
    facts: frozenset[str]
    reason: str


#: What two runs are compared in.
EXITS, OUTCOME, CONSOLE, SENT, RECEIVED, REGISTERS, GUEST_ERRORS, INSTRUCTIONS = FACTS = (
    "exits", "outcome", "console", "packets sent", "packets received", "registers", "guest errors",
    "instructions",
)  # fmt: skip
_EVERYTHING = frozenset(FACTS)


def _time(reason: str, *facts: str) -> Difference:
    return Difference(Cause.TIME, frozenset({EXITS, REGISTERS, INSTRUCTIONS, *facts}), reason)


def _software(reason: str) -> Difference:
    return Difference(Cause.SOFTWARE, _EVERYTHING, reason)


_FRAMES = _time(
    "frames come in by the clock: what the guest has done by then, and finds when it looks, "
    "depends on its speed"
)
_FRAMES_UNTIL = _time(
    "frames come in by the clock, and its mistake lets it have so many of them", OUTCOME, CONSOLE,
    RECEIVED, GUEST_ERRORS,
)  # fmt: skip
_NO_INT3 = _software("INT3 at level 0 ends as KVM_INTERNAL_ERROR_EMULATION")

#: By program: what may differ there, for more than one reason if there is more than one.
PROGRAMS: Mapping[str, tuple[Difference, ...]] = {
    "breakpoint": (_NO_INT3,),
    "cpuid": (
        Difference(
            Cause.SOFTWARE,
            frozenset({INSTRUCTIONS}),
            "CPUID that is stepped over answers as the processor does, not as KVM was told to",
        ),
    ),
    "hypercall": (_software("KVM_RUN does not come back from VMCALL"),),
    "idt_outside_ram": (
        _NO_INT3,
        Difference(
            Cause.ALWAYS,
            frozenset({EXITS, OUTCOME, REGISTERS}),
            "a delivery whose tables have no RAM behind them: an Intel processor exits in the "
            "middle of it (KVM_INTERNAL_ERROR_DELIVERY_EV), others fault",
        ),
    ),
    "index_masked_early": (_FRAMES_UNTIL,),
    "interrupt_storm": (
        _software(
            "kernel code is emulated many instructions at a time, and interrupts wait meanwhile: "
            "the guest comes as far as its CLI"
        ),
    ),
    "keyboardless_echo": (
        _time(
            "whether the next key is there when the guest looks for it is a matter of speed",
            CONSOLE,
        ),
    ),
    "lost_wakeup": (
        _time("the tick that is to come between STI and HLT comes earlier or later", OUTCOME,
              GUEST_ERRORS),
    ),
    "mmio_nic_echo": (_FRAMES,),
    "mmio_nic_ping_responder": (_FRAMES,),
    "mmio_nic_rx": (_FRAMES,),
    "frame_not_released": (_FRAMES_UNTIL,),
    "nested_interrupts": (
        _time("whether the timer ticks while the other handler prints", CONSOLE),
    ),
    "no_idt": (_time("when the timer ticks"),),
    "no_interrupt_ack": (_FRAMES_UNTIL,),
    "ping_responder": (_FRAMES,),
    "publishes_before_filling": (
        _time("the driver and the device race, which is its mistake", SENT, CONSOLE,
              GUEST_ERRORS, OUTCOME),
    ),
    "rx_no_buffers": (_FRAMES_UNTIL,),
    "spurious_irq": (
        _time("the timer's tick comes after the 8259 was initialized again, not before", CONSOLE),
    ),
    "stack_fault_in_delivery": (_time("when the timer ticks"),),
    "sti_before_idt": (
        _time("whether the timer ticks before there is an IDT", OUTCOME, CONSOLE),
    ),
    "sti_hlt": (_time("whether the tick comes between STI and HLT", CONSOLE),),
    "triple_fault": (_NO_INT3,),
    "used_event_never_updated": (_FRAMES_UNTIL,),
    "used_index_not_reread": (
        _time("how many frames come in at once, on which its mistake depends", OUTCOME, CONSOLE,
              RECEIVED, GUEST_ERRORS),
    ),
    "user_mode": (
        _software("INT 0x80 at level 3 does not come to the guest's handler"),
    ),
    "virtio_net_echo": (_FRAMES,),
    "virtio_net_event_idx": (
        _time("how many frames are in the ring when the driver looks", CONSOLE),
    ),
    "virtio_net_rx": (_FRAMES,),
    "virtio_net_tx_sleep": (
        _time("which interrupts come while the driver is awake"),
    ),
}  # fmt: skip

#: What differs with any program, and so is not compared, or only so far.
RULES: Mapping[str, str] = {
    "instructions, and the vmexits that stay in KVM": (
        "the toy counts them. Linux counts some of its own (`kvm_stats`); a processor's vmexits "
        "for RAM that is touched first, and for interrupts of the host, have no counterpart"
    ),
    "the copies guest->kvm and kvm->guest": (
        "the toy's KVM makes and counts them. Linux's makes them where nobody looks"
    ),
    "RF in RFLAGS": "processors differ in when they show it",
    "registers and the last exits of a guest whose time was up": (
        "it was stopped at another place; what both did until then is the same"
    ),
    "explanations, and guest errors of the 8259s and the processor": (
        "Linux tells neither which exceptions failed nor which vectors came"
    ),
    "CPUID": (
        "both get the same table (KVM_SET_CPUID2); Linux then corrects leaf 1 EDX bit 9 (local "
        "APIC: there is one with its interrupt controllers), and a software KVM may go its own way"
    ),
    "flags that the manual leaves undefined": (
        "after SHL by more than 1, MUL, DIV, BSF and others (Intel SDM vol. 2)"
    ),
}


#: For every guest with interrupt controllers that is run step by step.
STEPPED = Difference(
    Cause.TIME,
    frozenset({INSTRUCTIONS}),
    "steps take longer than instructions, so interrupts come at other ones",
)


#: For every guest whose time was up on the toy, and not on Linux's KVM.
TIME_WAS_UP = Difference(
    Cause.TIME,
    frozenset({OUTCOME}),
    "the toy's time was up first; until then both did what is compared here",
)


def known(program: str, *, software: bool, interrupts: bool = False) -> list[Difference]:
    """What may differ with a program on this machine's KVM; `interrupts`: it can have some."""
    found = [
        entry
        for entry in PROGRAMS.get(program, ())
        if entry.cause is not Cause.SOFTWARE or software
    ]
    return [*found, STEPPED] if interrupts else found
