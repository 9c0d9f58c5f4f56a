"""Interrupts on their way into the guest.

The interrupt controller holds up its INTR line, or userspace asks for an NMI. KVM looks at
both before it enters the guest: it injects what the guest can take now, and for the rest
asks the processor to leave as soon as it can (interrupt-window and NMI-window exits).

Linux: arch/x86/kvm/x86.c, kvm_check_and_inject_events().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.cpu.events import NMI, Event, EventType
from toyvisor.cpu.world_switch import Cpu
from toyvisor.exit_reasons import ExitReason
from toyvisor.trace.events import KVM_INJ_NMI, KVM_INJ_VIRQ
from toyvisor.trace.ledger import Ledger

if TYPE_CHECKING:
    from toyvisor.kvm.i8259 import PicPair


class EventInjection:
    """The events that wait for one vCPU. `requested`: there are some (KVM_REQ_EVENT)."""

    __slots__ = (
        "_cpu",
        "_ledger",
        "interrupted_at",
        "irqchip",
        "nmis_pending",
        "requested",
        "vectors",
    )

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._cpu: Cpu | None = None
        #: The interrupt controllers; None without KVM_CREATE_IRQCHIP.
        self.irqchip: PicPair | None = None
        self.nmis_pending = 0
        self.requested = False
        #: RIP where the last interrupt came in; all vectors so far, a bit for each. To explain
        #: what went wrong.
        self.interrupted_at: int | None = None
        self.vectors = 0

    @property
    def _intr(self) -> int:
        """The level of INTR."""
        return self.irqchip.output if self.irqchip is not None else 0

    def attach(self, cpu: Cpu) -> None:
        """The vCPU has got its processor."""
        self._cpu = cpu
        if self.irqchip is not None:
            cpu.enable_interrupts()

    def set_intr(self, level: int) -> None:
        """The controllers' INTR line has changed."""
        self._request(bool(level or self.nmis_pending))

    def nmi(self) -> None:
        """KVM_NMI. One can wait while a handler runs, two otherwise; further ones are lost.

        Linux: process_nmi().
        """
        cpu = self._cpu
        limit = 1 if cpu is not None and cpu.in_nmi else 2
        self.nmis_pending = min(self.nmis_pending + 1, limit)
        if cpu is not None:
            cpu.enable_interrupts()
        self._request(True)

    def _request(self, requested: bool) -> None:
        self.requested = requested
        cpu = self._cpu
        if cpu is None:
            return
        if not requested:
            cpu.close_window()
        elif cpu.in_instruction:
            # Else prepare() sees to it at the next entry. Here there may be none: an exit
            # that KVM finishes by itself goes straight back into the guest.
            self._stop_where_possible(cpu)

    def can_wake(self) -> bool:
        """Whether a guest that sleeps in HLT would wake (kvm_vcpu_has_events)."""
        return bool(self._window())

    def irq_of(self, vector: int) -> int | None:
        """The line whose interrupts come as `vector`, if there is one."""
        return self.irqchip.irq_of(vector) if self.irqchip is not None else None

    def prepare(self, cpu: Cpu) -> None:
        """Before an entry: inject one event, and see to the others."""
        if cpu.in_instruction:
            self._stop_where_possible(cpu)
            return
        if cpu.is_injecting:
            return
        trace = self._ledger.trace
        if self.nmis_pending and cpu.can_take_nmi():
            self.nmis_pending -= 1
            cpu.inject(Event(NMI, EventType.NMI))
            if trace.enabled:
                trace.emit(KVM_INJ_NMI)
        elif self.irqchip is not None and self._intr and cpu.can_be_interrupted():
            vector = self.irqchip.read_irq()
            self._ledger.injected += 1
            self.interrupted_at = cpu.registers.rip()
            self.vectors |= 1 << vector
            cpu.inject(Event(vector, EventType.EXTERNAL_INTERRUPT))
            if trace.enabled:
                trace.emit(KVM_INJ_VIRQ, vector)
        self.requested = bool(self.nmis_pending or self._intr)
        if self.requested:
            cpu.open_window(self._window)
        else:
            cpu.close_window()

    def _stop_where_possible(self, cpu: Cpu) -> None:
        """Behind the instruction in hand if the event could come there, else later."""
        if self._window():
            cpu.boundary.arm()
        else:
            cpu.open_window(self._window)

    def _window(self) -> int:
        """The exit reason for which the guest is to leave here; 0: nothing can come in."""
        cpu = self._cpu
        assert cpu is not None
        if self.nmis_pending and cpu.can_take_nmi():
            return int(ExitReason.NMI_WINDOW)
        if self._intr and cpu.can_be_interrupted():
            return int(ExitReason.INTERRUPT_WINDOW)
        return 0
