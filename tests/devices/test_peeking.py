"""A debugger's look at a device: the same values as a load gives, without what a load does."""

from __future__ import annotations

from toyvisor.qemu.devices import mmio_nic_registers as nic
from toyvisor.qemu.devices.mmio_nic import MmioNic
from toyvisor.qemu.devices.serial import Serial16550
from toyvisor.qemu.devices.serial_registers import FCR_ENABLE, IER_THRI, LCR_DLAB, LSR_DR


class Nowhere:
    """A cable, and a terminal, that lead nowhere."""

    name = "nowhere"

    def transmit(self, frame: bytearray) -> None: ...

    def accept(self, data: bytearray) -> None: ...


def test_the_cards_registers_can_be_looked_at(bench) -> None:
    card = MmioNic(bench.context("mmio-nic"), Nowhere())
    card.write(nic.CONTROL, 4, nic.CONTROL_TX_ENABLE)
    card.write(nic.TX_BUFFER, 4, 0x44332211)
    for register in nic.REGISTERS:
        if register.width == 4 and "R" in register.access:
            assert card.peek(register.offset) == card.read(register.offset, 4), register.name
    assert card.peek(nic.TX_COMMAND) is None
    sent, received = card.buffers
    assert sent.startswith(b"\x11\x22\x33\x44\0")
    assert len(sent) + len(received) == nic.TX_BUFFER_SIZE + nic.RX_BUFFER_SIZE
    assert bench.errors.count == 0


def test_a_look_at_the_serial_port_takes_nothing(bench) -> None:
    port = Serial16550(bench.context("serial"), Nowhere())
    port.write(2, 1, FCR_ENABLE)
    port.receive(b"hi")
    assert port.waiting == b"hi"
    assert port.peek()["RBR"] == ord("h")
    assert port.peek()["LSR"] & LSR_DR
    assert port.read(0, 1) == ord("h")  # a real read takes it
    assert port.waiting == b"i"


def test_without_its_fifo_the_port_holds_one_byte(bench) -> None:
    port = Serial16550(bench.context("serial"), Nowhere())
    assert (port.waiting, port.peek()["RBR"]) == (b"", 0)
    port.receive(b"x")
    assert port.waiting == b"x"


def test_a_look_at_iir_does_not_answer_the_interrupt(bench) -> None:
    context = bench.context("serial")
    port = Serial16550(context, Nowhere())
    port.write(1, 1, IER_THRI)
    assert context.irq.level == 1
    pending = port.peek()["IIR"]
    assert (port.peek()["IIR"], context.irq.level) == (pending, 1)
    assert port.read(2, 1) == pending
    assert context.irq.level == 0


def test_both_sides_of_dlab_are_seen_at_once(bench) -> None:
    port = Serial16550(bench.context("serial"), Nowhere())
    port.write(3, 1, LCR_DLAB)
    port.write(0, 1, 0x34)
    port.write(1, 1, 0x12)
    found = port.peek()
    assert (found["DLL"], found["DLM"], found["IER"]) == (0x34, 0x12, 0)
