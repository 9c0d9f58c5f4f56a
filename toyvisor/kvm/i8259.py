"""The PC's interrupt controllers, two 8259A in cascade, as KVM has them in the kernel.

Reference: Linux, arch/x86/kvm/i8259.c, whose state this has bit for bit (struct
kvm_pic_state), its habits included: ICW1 leaves the interrupts in service alone and does not
lower the line to the processor; a poll takes the request and ends it in one; the slave's
request is an edge at the master's input 2 and is not taken back; there is neither single mode
nor LTIM. One thing is the data sheet's and QEMU's, for KVM keeps the bit and never looks at
it: special mask mode.

How an interrupt travels:

    a device raises its line       IRR: it is requested (by the edge, or as long as the line is up)
    not masked (IMR), and nothing of higher or equal priority in service (ISR)
                                   the line INTR to the processor goes up
    the processor asks (INTA)      IRR bit gone (edge), ISR bit set, the vector is the answer
    the handler is done, and writes EOI
                                   ISR bit gone: the next one may come
"""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.kvm.i8259_chip import Pic as Pic
from toyvisor.kvm.i8259_chip import PicState as PicState
from toyvisor.kvm.i8259_registers import (
    CASCADE_IR,
    ELCR1,
    ELCR2,
    ELCR_MASKS,
    MASTER_CMD,
    MASTER_IMR,
    POLL_INTERRUPT,
    POLL_NONE,
    SLAVE_CMD,
    SLAVE_IMR,
)
from toyvisor.kvm.i8259_why_not import why_not
from toyvisor.trace.events import KVM_PIC_SET_IRQ, Trace

_CASCADE = 1 << CASCADE_IR


class PicPair:
    """Both chips (struct kvm_pic), their ports and their line to the processor.

    `output` is called when that line, INTR, changes: 1 or 0. After it went up, the processor
    takes its time (interrupts may be off), then calls read_irq().
    """

    __slots__ = (
        "_ack_notifiers",
        "_mask_notifiers",
        "_on_output",
        "_trace",
        "_writers",
        "output",
        "pics",
    )

    def __init__(self, output: Callable[[int], None], trace: Trace | None = None) -> None:
        self._on_output = output
        self._trace = trace if trace is not None else Trace()
        self._ack_notifiers: dict[int, list[Callable[[], None]]] = {}
        self._mask_notifiers: dict[int, list[Callable[[bool], None]]] = {}
        #: The level of INTR.
        self.output = 0
        self.pics = (
            Pic(0, self._update, self._notify_acked, self._fire_mask_notifiers),
            Pic(1, self._update, self._notify_acked, self._fire_mask_notifiers),
        )
        master, slave = self.pics
        self._writers: dict[int, Callable[[int], None]] = {
            MASTER_CMD: master.write_command,
            MASTER_IMR: master.write_data,
            SLAVE_CMD: slave.write_command,
            SLAVE_IMR: slave.write_data,
            ELCR1: master.write_elcr,
            ELCR2: slave.write_elcr,
        }

    def reset(self) -> None:
        """As after power-on, before anybody has initialized them."""
        self.set_irqchip((PicState(elcr_mask=ELCR_MASKS[0]), PicState(elcr_mask=ELCR_MASKS[1])))

    def get_irqchip(self) -> tuple[PicState, PicState]:
        """KVM_GET_IRQCHIP for both chips."""
        master, slave = self.pics
        return master.get_state(), slave.get_state()

    def set_irqchip(self, states: tuple[PicState, PicState]) -> None:
        """KVM_SET_IRQCHIP for both chips; INTR follows."""
        for pic, state in zip(self.pics, states, strict=True):
            pic.set_state(state)
        self._update()

    # Lines in and out -------------------------------------------------------------------

    def set_irq(self, irq: int, level: int) -> int:
        """Drive the line of IRQ 0 to 15 (Linux: kvm_pic_set_irq).

        -1: it is masked; 0: coalesced, the request before it has not been taken yet; else 1.
        """
        pic = self.pics[irq >> 3]
        bit = 1 << (irq & 7)
        pic.irq_states = pic.irq_states | bit if level else pic.irq_states & ~bit
        result = pic.set_line(irq & 7, level)
        self._update()
        if self._trace.enabled:
            self._trace.emit(
                KVM_PIC_SET_IRQ, irq >> 3, irq & 7, pic.elcr, pic.imr, int(result == 0)
            )
        return result

    def read_irq(self) -> int:
        """The processor acknowledges (INTA): the vector (Linux: kvm_pic_read_irq).

        The request may have gone since INTR went up. Somebody must answer, so it is the
        lowest interrupt of the chip that was asked, without a bit in ISR: a spurious
        interrupt. A handler of IRQ 7 or 15 looks at ISR, and sends no EOI for a spurious one
        (for a spurious 15, one to the master, which did not notice).
        """
        master, slave = self.pics
        pin = master.wanted()
        if pin is None:
            vector = master.irq_base + 7
        else:
            master.acknowledge(pin)
            vector = master.irq_base + pin
            if pin == CASCADE_IR:
                pin = slave.wanted()
                if pin is None:
                    pin = 7
                else:
                    slave.acknowledge(pin)
                vector = slave.irq_base + pin
        self._update()
        return vector

    def _update(self) -> None:
        """INTR, whenever what is wanted may have changed (Linux: pic_update_irq)."""
        master, slave = self.pics
        if slave.wanted() is not None:
            master.set_line(CASCADE_IR, 1)
            master.set_line(CASCADE_IR, 0)
        level = 0 if master.wanted() is None else 1
        if level != self.output:
            self.output = level
            self._on_output(level)

    def why_not(self, irq: int) -> str | None:
        """Why a request of IRQ 0 to 15 does not reach the processor, in words; None if it does."""
        return why_not(*self.pics, irq)

    def irq_of(self, vector: int) -> int | None:
        """The line whose interrupts come as `vector`, if there is one."""
        for pic in self.pics:
            if 0 <= vector - pic.irq_base < 8:
                return 8 * pic.index + vector - pic.irq_base
        return None

    # Who wants to know --------------------------------------------------------------------

    def register_irq_ack_notifier(self, irq: int, notifier: Callable[[], None]) -> None:
        """Call at every end of an interrupt (Linux: kvm_register_irq_ack_notifier).

        The PIT repeats its missed interrupts by it, an irqfd with a resampler asks its device
        whether the line is still up.
        """
        self._ack_notifiers.setdefault(irq, []).append(notifier)

    def register_irq_mask_notifier(self, irq: int, notifier: Callable[[bool], None]) -> None:
        """Call with True when `irq` is masked, with False when it is unmasked."""
        self._mask_notifiers.setdefault(irq, []).append(notifier)

    def _notify_acked(self, irq: int) -> None:
        for notifier in self._ack_notifiers.get(irq, ()):
            notifier()

    def _fire_mask_notifiers(self, irq: int, masked: bool) -> None:
        for notifier in self._mask_notifiers.get(irq, ()):
            notifier(masked)

    # The guest's accesses (KvmIoDevice) -----------------------------------------------------

    def accepts(self, address: int, _size: int, _value: int | None) -> bool:
        """Every access to our ports."""
        return address in self._writers

    def write(self, address: int, size: int, value: int) -> bool:
        """An OUT; only single bytes do anything (Linux: picdev_write)."""
        writer = self._writers.get(address)
        if writer is None:
            return False
        if size == 1:
            writer(value)
        return True

    def read(self, address: int, size: int) -> int | None:
        """An IN; more than a byte reads as zero (Linux: picdev_read)."""
        if address not in self._writers:
            return None
        if size != 1:
            return 0
        if address in (ELCR1, ELCR2):
            return self.pics[address & 1].elcr
        pic = self.pics[address >> 7]
        if pic.poll:
            pic.poll = 0
            return self._poll(pic)
        return pic.imr if address & 1 else pic.read_command()

    def _poll(self, pic: Pic) -> int:
        """A driver without interrupts asks what there is to do (OCW3 with P, then an IN)."""
        pin = pic.wanted()
        if pin is None:
            self._update()
            return POLL_NONE
        is_slave = pic is not self.pics[0]
        if is_slave:
            self.pics[0].isr &= ~_CASCADE
            self.pics[0].irr &= ~_CASCADE
        pic.take(pin)
        if is_slave or pin != CASCADE_IR:
            # After input 2 of the master, the slave is polled; until then it is left alone.
            self._update()
        return POLL_INTERRUPT | pin
