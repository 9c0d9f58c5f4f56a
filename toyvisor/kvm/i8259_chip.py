"""One 8259A interrupt controller: what is requested, masked, in service, and who goes first.

The chip alone; the pair of them, the cascade and the ports are in i8259.py, which names the
sources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from toyvisor.kvm.i8259_registers import (
    CASCADE_IR,
    ELCR_MASKS,
    ICW1,
    ICW1_IC4,
    ICW2_BASE,
    ICW4_AEOI,
    ICW4_SFNM,
    OCW2_LEVEL,
    OCW3,
    OCW3_ESMM,
    OCW3_P,
    OCW3_RIS,
    OCW3_RR,
    OCW3_SMM,
)

_CASCADE = 1 << CASCADE_IR


class PicState(NamedTuple):
    """struct kvm_pic_state, and two more for explanations."""

    last_irr: int = 0  # levels of the lines, for edges
    irr: int = 0  # interrupt request register
    imr: int = 0  # interrupt mask register
    isr: int = 0  # in-service register
    priority_add: int = 0  # the interrupt that has the highest priority
    irq_base: int = 0
    read_reg_select: int = 0
    poll: int = 0
    special_mask: int = 0
    init_state: int = 0  # 1, 2, 3: waits for ICW2, ICW3, ICW4
    auto_eoi: int = 0
    rotate_on_auto_eoi: int = 0
    special_fully_nested_mode: int = 0
    init4: int = 0  # ICW4 will follow
    elcr: int = 0  # edge/level control register
    elcr_mask: int = 0
    # The toy's own: the levels that the devices drive, and whether all ICWs have come.
    irq_states: int = 0
    initialized: int = 0


class Pic:
    """One chip (struct kvm_kpic_state). Its inputs are 0 to 7; priorities, 0 is the highest."""

    __slots__ = (*PicState._fields, "_acked", "_mask_changed", "_update", "index")

    last_irr: int
    irr: int
    imr: int
    isr: int
    priority_add: int
    irq_base: int
    read_reg_select: int
    poll: int
    special_mask: int
    init_state: int
    auto_eoi: int
    rotate_on_auto_eoi: int
    special_fully_nested_mode: int
    init4: int
    elcr: int
    elcr_mask: int
    irq_states: int
    initialized: int

    def __init__(
        self,
        index: int,
        update: Callable[[], None],
        acked: Callable[[int], None],
        mask_changed: Callable[[int, bool], None],
    ) -> None:
        #: 0 is the master, 1 the slave.
        self.index = index
        self._update = update
        self._acked = acked
        self._mask_changed = mask_changed
        self.set_state(PicState(elcr_mask=ELCR_MASKS[index]))

    def get_state(self) -> PicState:
        """All registers, as plain numbers."""
        return PicState(*(getattr(self, name) for name in PicState._fields))

    def set_state(self, state: PicState) -> None:
        """Put back what get_state() gave."""
        for name, value in zip(PicState._fields, state, strict=True):
            setattr(self, name, value)

    # Requests -------------------------------------------------------------------------

    def set_line(self, pin: int, level: int) -> int:
        """An input changes (Linux: pic_set_irq1): -1 masked, 0 coalesced, 1 requested."""
        bit = 1 << pin
        result = 1
        if not level:
            self.last_irr &= ~bit
            if self.elcr & bit:
                self.irr &= ~bit
        else:
            if self.elcr & bit or not self.last_irr & bit:
                result = 0 if self.irr & bit else 1
                self.irr |= bit
            self.last_irr |= bit
        return -1 if self.imr & bit else result

    def priority(self, pins: int) -> int:
        """The highest priority among the bits of `pins` (Linux: get_priority); 8 if none."""
        first = self.priority_add
        turned = (pins >> first | pins << 8 - first) & 0xFF
        return (turned & -turned).bit_length() - 1 if turned else 8

    def blocking(self) -> int:
        """The interrupts in service that keep others of their priority and below waiting."""
        pins = self.isr
        if self.special_mask:
            pins &= ~self.imr
        if self.special_fully_nested_mode and self.index == 0:
            pins &= ~_CASCADE
        return pins

    def wanted(self) -> int | None:
        """The input that should interrupt now (Linux: pic_get_irq); None if there is none."""
        requests = self.irr & ~self.imr
        if not requests:
            return None
        priority = self.priority(requests)
        if priority < self.priority(self.blocking()):
            return priority + self.priority_add & 7
        return None

    def acknowledge(self, pin: int) -> None:
        """The processor takes the interrupt (Linux: pic_intack)."""
        bit = 1 << pin
        self.isr |= bit
        if not self.elcr & bit:  # a level is a request for as long as it lasts
            self.irr &= ~bit
        if self.auto_eoi:
            if self.rotate_on_auto_eoi:
                self.priority_add = pin + 1 & 7
            self._clear_isr(pin)

    def _clear_isr(self, pin: int) -> None:
        self.isr &= ~(1 << pin)
        self._acked(8 * self.index + pin)

    # The guest's accesses ---------------------------------------------------------------

    def write_command(self, value: int) -> None:
        """The even port: ICW1, OCW2 or OCW3."""
        if value & ICW1:
            self._start(value)
        elif value & OCW3:
            if value & OCW3_P:
                self.poll = 1
            if value & OCW3_RR:
                self.read_reg_select = value & OCW3_RIS
            if value & OCW3_ESMM:
                self.special_mask = int(bool(value & OCW3_SMM))
        else:
            self._write_ocw2(value >> 5, value & OCW2_LEVEL)

    def _start(self, value: int) -> None:
        """ICW1 (Linux: kvm_pic_reset)."""
        forgotten = self.irr & ~self.elcr
        self.init4 = value & ICW1_IC4
        self.last_irr = self.imr = 0
        self.irr &= self.elcr
        self.priority_add = self.special_mask = self.read_reg_select = 0
        if not self.init4:
            self.special_fully_nested_mode = self.auto_eoi = 0
        self.init_state = 1
        self.initialized = 0
        # Whoever waits for the end of one that is forgotten must not wait for ever.
        for pin in range(8):
            if forgotten >> pin & 1:
                self._clear_isr(pin)

    def _write_ocw2(self, command: int, level: int) -> None:
        """R, SL and EOI are bits 2, 1 and 0 of `command`."""
        match command:
            case 0 | 4:
                self.rotate_on_auto_eoi = command >> 2
            case 1 | 5:  # non-specific EOI: the one of the highest priority in service
                if not self.isr:
                    return
                pin = self.priority(self.isr) + self.priority_add & 7
                if command == 5:
                    self.priority_add = pin + 1 & 7
                self._clear_isr(pin)
                self._update()
            case 3 | 7:  # specific EOI
                if command == 7:
                    self.priority_add = level + 1 & 7
                self._clear_isr(level)
                self._update()
            case 6:
                self.priority_add = level + 1 & 7
                self._update()

    def write_data(self, value: int) -> None:
        """The odd port: OCW1, or the next word of an initialization."""
        match self.init_state:
            case 0:
                self._write_imr(value)
            case 1:
                self.irq_base = value & ICW2_BASE
                self.init_state = 2
            case 2:
                self.init_state = 3 if self.init4 else 0
                self.initialized = 1 - self.init4
            case 3:
                self.special_fully_nested_mode = int(bool(value & ICW4_SFNM))
                self.auto_eoi = int(bool(value & ICW4_AEOI))
                self.init_state = 0
                self.initialized = 1

    def _write_imr(self, value: int) -> None:
        changed = self.imr ^ value
        self.imr = value
        for pin in range(8):
            if changed >> pin & 1:
                self._mask_changed(8 * self.index + pin, bool(value >> pin & 1))
        self._update()

    def write_elcr(self, value: int) -> None:
        """The chip's ELCR port: which inputs are level-triggered."""
        self.elcr = value & self.elcr_mask

    def read_command(self) -> int:
        """The even port, if it is not a poll."""
        return self.isr if self.read_reg_select else self.irr

    def take(self, pin: int) -> None:
        """What a poll does with a request: take it and end it (Linux: pic_poll_read)."""
        self.irr &= ~(1 << pin)
        self._clear_isr(pin)
