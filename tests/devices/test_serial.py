"""The 16550A against its data sheet, and against QEMU where QEMU differs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.host.console import Console
from toyvisor.memory import GuestMemory
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.qemu.devices import serial_registers as uart
from toyvisor.qemu.devices.serial import Serial16550
from toyvisor.trace.ledger import Ledger

DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = 0, 1, 2, 2, 3, 4, 5, 6, 7
IDLE = uart.LSR_THRE | uart.LSR_TEMT
NONE = uart.IIR_NO_INT
FIFO_ON = uart.IIR_FIFO_ENABLED


class Typist:
    """A chardev without a main loop: hands over as many bytes as the port takes, at once."""

    def __init__(self, uart: Serial16550) -> None:
        self.uart = uart
        self.waiting = b""
        uart.accept_input = self.accept_input

    def feed(self, data: bytes) -> None:
        self.waiting += data
        self.accept_input()

    def accept_input(self) -> None:
        room = self.uart.can_receive()
        while room and self.waiting:
            part, self.waiting = self.waiting[:room], self.waiting[room:]
            self.uart.receive(part)
            room = self.uart.can_receive()


class Port:
    """What a driver does with `in` and `out`, a byte at a time."""

    def __init__(self, bench) -> None:
        self.console = Console("tty")
        self.context = bench.context("serial")
        self.uart = Serial16550(self.context, self.console)
        self.typist = Typist(self.uart)

    def __getitem__(self, offset: int) -> int:
        return self.uart.read(offset, 1)

    def __setitem__(self, offset: int, value: int) -> None:
        self.uart.write(offset, 1, value)

    @property
    def irq(self) -> int:
        return self.context.irq.level

    def drain(self) -> bytes:
        data = bytearray()
        while self[LSR] & uart.LSR_DR:
            data.append(self[DATA])
        return bytes(data)


@pytest.fixture
def port(bench):
    return Port(bench)


def test_after_power_on(port):
    assert [port[n] for n in range(8)] == [0, 0, NONE, 0, uart.MCR_OUT2, IDLE, 0xB0, 0]
    assert port.irq == 0


def test_the_register_table_agrees_with_power_on(port):
    for register in uart.REGISTERS:
        if "R" in register.access and register.name not in ("DLL", "DLM"):
            assert port[register.offset] == register.reset, register.name
    port[LCR] = uart.LCR_DLAB
    assert [port[0], port[1]] == [0x0C, 0x00]  # 9600 baud


def test_a_byte_written_is_on_the_console_at_once(bench, port):
    with bench.costs(copies=1, copied=1, write=1):
        port[DATA] = ord("A")
    assert port.console.output == b"A"
    assert port[LSR] == IDLE


def test_each_byte_is_a_system_call_of_its_own(bench, port):
    with bench.costs(copies=5, copied=5, write=5):
        for byte in b"hello":
            port[DATA] = byte
    assert port.console.text == "hello"


@pytest.mark.parametrize("value", [0x00, 0x55, 0xAA, 0xFF])
def test_scratch_holds_anything(port, value):
    port[SCR] = value
    assert port[SCR] == value


def test_dlab_turns_data_and_interrupt_enable_into_the_divisor(bench, port):
    port[IER] = uart.IER_RDI
    port[LCR] = uart.LCR_DLAB | 3
    with bench.costs():
        port[DATA], port[IER] = 0x34, 0x12
    assert [port[DATA], port[IER]] == [0x34, 0x12]
    port[LCR] = 3
    assert [port[DATA], port[IER]] == [0, uart.IER_RDI]
    port[LCR] = uart.LCR_DLAB
    assert [port[DATA], port[IER]] == [0x34, 0x12]


def test_only_the_bits_that_exist_stick(port):
    port[IER] = port[MCR] = port[LCR] = 0xFF
    assert port[LCR] == 0xFF
    port[LCR] = 0
    assert port[IER] == 0x0F
    assert port[MCR] == 0x1F


def test_line_and_modem_status_cannot_be_written(port):
    port[LSR] = port[MSR] = 0xFF
    assert (port[LSR], port[MSR]) == (IDLE, 0xB0)


# Receiving ------------------------------------------------------------------------------


def test_without_fifo_one_byte_is_held(port):
    port.uart.receive(b"A")
    assert port[LSR] == IDLE | uart.LSR_DR
    assert port[DATA] == ord("A")
    assert port[LSR] == IDLE


def test_without_fifo_a_second_byte_overwrites_the_first(port):
    port.uart.receive(b"AB")
    assert port[LSR] == IDLE | uart.LSR_DR | uart.LSR_OE
    assert port[LSR] == IDLE | uart.LSR_DR, "the read cleared the overrun"
    assert port[DATA] == ord("B")


def test_the_fifo_holds_sixteen_and_loses_what_comes_after(port):
    port[FCR] = uart.FCR_ENABLE
    port.uart.receive(bytes(range(16)))
    assert port[LSR] == IDLE | uart.LSR_DR
    port.uart.receive(b"\x10\x11")
    assert port[LSR] == IDLE | uart.LSR_DR | uart.LSR_OE
    assert port.drain() == bytes(range(16))
    assert port[DATA] == 0, "an empty FIFO reads as 0"


def test_clearing_the_receive_fifo(port):
    port[FCR] = uart.FCR_ENABLE
    port.uart.receive(b"abc")
    port[FCR] = uart.FCR_ENABLE | uart.FCR_CLEAR_TRANSMIT
    assert port[LSR] & uart.LSR_DR
    port[FCR] = uart.FCR_ENABLE | uart.FCR_CLEAR_RECEIVE
    assert port[LSR] == IDLE
    assert port.drain() == b""


@pytest.mark.parametrize("start", [0, uart.FCR_ENABLE])
def test_turning_the_fifos_on_or_off_empties_them(port, start):
    port[FCR] = start
    port.uart.receive(b"a")
    port[FCR] = start ^ uart.FCR_ENABLE
    assert port[LSR] == IDLE


def test_iir_says_whether_the_fifos_are_on(port):
    port[FCR] = uart.FCR_ENABLE
    assert port[IIR] == FIFO_ON | NONE
    port[FCR] = 0
    assert port[IIR] == NONE


def test_input_from_the_host_waits_until_there_is_room(port):
    port.typist.feed(b"hello, world: longer than any FIFO")
    assert port.drain() == b"hello, world: longer than any FIFO"
    assert not port[LSR] & uart.LSR_OE


def test_waiting_input_fills_the_fifo_to_its_trigger_level(port):
    port[FCR] = uart.FCR_ENABLE | 0x80
    port[IER] = uart.IER_RDI
    port.typist.feed(bytes(20))
    assert port.uart.can_receive() == 0
    assert port[IIR] == FIFO_ON | uart.IIR_RDI
    port[FCR] = uart.FCR_ENABLE | uart.FCR_CLEAR_RECEIVE | 0x80
    assert len(port.drain()) == 12, "eight were in the FIFO"


@pytest.mark.parametrize(
    ("fcr", "held", "room"),
    [(0, 0, 1), (0, 1, 0), (0x41, 0, 4), (0x41, 3, 1), (0x41, 4, 0), (0x41, 9, 0), (0xC1, 1, 13)],
)
def test_room_is_up_to_the_trigger_level(port, fcr, held, room):
    """As QEMU's serial_can_receive has it, but for the one byte it takes above the level."""
    port[FCR] = fcr
    port.uart.receive(bytes(held))
    assert port.uart.can_receive() == room


def test_the_host_hears_of_room_only_when_there_is_some(port):
    told = []
    port.uart.accept_input = lambda: told.append(port.uart.can_receive())
    port[FCR] = uart.FCR_ENABLE | 0x40
    assert told == [4]
    port.uart.receive(bytes(6))
    told.clear()
    for _ in range(4):
        port[DATA]
    assert told == [1, 2]
    port[MCR] = uart.MCR_LOOP
    assert told == [1, 2]
    port[MCR] = 0
    port.uart.reset()
    assert told == [1, 2, 2, 1]


def test_a_break_is_a_zero_byte_and_a_line_status(port):
    port[IER] = uart.IER_RLSI
    port.uart.receive_break()
    assert port.irq == 1
    assert port[LSR] == IDLE | uart.LSR_DR | uart.LSR_BI
    assert port.irq == 0
    assert port[DATA] == 0


# Loopback -------------------------------------------------------------------------------


def test_loopback_hears_itself_and_nobody_else(bench, port):
    port[MCR] = uart.MCR_LOOP
    with bench.costs():
        port[DATA] = 0x5A
    port.uart.receive(b"x")
    port.uart.receive_break()
    port.typist.feed(b"y")
    assert port.drain() == b"\x5a"
    assert port.console.output == b""
    port[MCR] = 0
    assert port.drain() == b"y", "what waited comes when the loop is open"


def test_loopback_fills_the_fifo_and_overruns_it(port):
    port[FCR] = uart.FCR_ENABLE
    port[MCR] = uart.MCR_LOOP
    for byte in range(17):
        port[DATA] = byte
    assert port[LSR] & uart.LSR_OE
    assert port.drain() == bytes(range(16))


@pytest.mark.parametrize(
    ("out", "back"),
    [
        (uart.MCR_RTS, uart.MSR_CTS),
        (uart.MCR_DTR, uart.MSR_DSR),
        (uart.MCR_OUT1, uart.MSR_RI),
        (uart.MCR_OUT2, uart.MSR_DCD),
        (0x0A, 0x90),  # what Linux's autoconfig() looks for (drivers/tty/serial/8250)
    ],
)
def test_loopback_turns_modem_outputs_into_inputs(port, out, back):
    port[MCR] = uart.MCR_LOOP | out
    assert port[MSR] == back
    port[MCR] = out
    assert port[MSR] == 0xB0


# Interrupts -----------------------------------------------------------------------------


@pytest.mark.parametrize(("fcr", "level"), [(0x01, 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
def test_data_interrupts_from_the_trigger_level_on(port, fcr, level):
    port[FCR] = fcr
    port[IER] = uart.IER_RDI
    assert (port[IIR], port.irq) == (FIFO_ON | NONE, 0)
    for count in range(1, 17):
        port.uart.receive(b"x")
        cause = uart.IIR_RDI if count >= level else uart.IIR_CTI
        assert (port[IIR], port.irq) == (FIFO_ON | cause, 1)
    for count in range(15, -1, -1):
        port[DATA]
        cause = uart.IIR_RDI if count >= level else uart.IIR_CTI if count else NONE
        assert port[IIR] == FIFO_ON | cause
    assert port.irq == 0


def test_no_timeout_without_fifos(port):
    port[IER] = uart.IER_RDI
    port.uart.receive(b"x")
    assert port[IIR] == uart.IIR_RDI


def test_interrupts_come_in_the_order_of_their_priority(port):
    port[IER] = 0x0F  # brings the transmitter's interrupt
    port.uart.receive(b"ab")  # overrun
    assert port[IIR] == uart.IIR_RLSI
    port[LSR]
    assert port[IIR] == uart.IIR_RDI
    port[DATA]
    assert port[IIR] == uart.IIR_THRI
    assert (port[IIR], port.irq) == (NONE, 0)


def test_reading_iir_answers_the_transmitter_only(port):
    port[IER] = uart.IER_RDI
    port.uart.receive(b"a")
    assert [port[IIR], port[IIR]] == [uart.IIR_RDI, uart.IIR_RDI]
    assert port.irq == 1


@pytest.mark.parametrize("bit", [uart.IER_RDI, uart.IER_THRI, uart.IER_RLSI, uart.IER_MSI])
def test_what_is_not_enabled_does_not_interrupt(port, bit):
    port[IER] = 0x0F & ~bit
    port[IIR]  # answers the transmitter
    assert port.irq == 0
    causes = set()
    port.uart.receive(b"ab")
    port[DATA]
    port.uart.receive(b"cd")
    for _ in range(6):
        cause = port[IIR] & uart.IIR_ID_MASK
        causes.add(cause)
        if cause == uart.IIR_RLSI:
            port[LSR]
        elif cause == uart.IIR_RDI:
            port[DATA]
    expected = {
        uart.IER_RDI: {uart.IIR_RLSI, NONE},
        uart.IER_THRI: {uart.IIR_RLSI, uart.IIR_RDI, NONE},
        uart.IER_RLSI: {uart.IIR_RDI, NONE},
        uart.IER_MSI: {uart.IIR_RLSI, uart.IIR_RDI, NONE},
    }[bit]
    assert causes == expected


def test_enabling_the_transmitter_interrupt_brings_it_each_time(port):
    for _ in range(2):
        port[IER] = uart.IER_THRI
        assert (port.irq, port[IIR], port[IIR]) == (1, uart.IIR_THRI, NONE)
        port[IER] = 0
    assert port.irq == 0


def test_writing_the_same_enables_again_brings_nothing(port):
    port[IER] = uart.IER_THRI
    port[IIR]
    port[IER] = uart.IER_THRI
    assert port.irq == 0


def test_each_byte_sent_is_an_edge(bench, port):
    """An edge-triggered 8259 sees every byte, although the line is up before and after."""
    port[IER] = uart.IER_THRI
    with bench.watched() as events:
        port[DATA] = 65
    edges = [event for event in events if event[0] == "irq_line"]
    assert edges == [("irq_line", "serial", 0), ("irq_line", "serial", 1)]
    assert port[IIR] == uart.IIR_THRI


def test_disabling_the_cause_lowers_the_line(port):
    port[IER] = uart.IER_RDI
    port.uart.receive(b"a")
    assert port.irq == 1
    port[IER] = 0
    assert port.irq == 0


# Wide accesses, and everything else ------------------------------------------------------


@pytest.mark.parametrize("size", [2, 4, 8])
def test_a_wide_access_is_bytes_at_one_port_after_the_other(port, size):
    port[LCR] = uart.LCR_DLAB
    port.uart.write(0, size, 0xEE_00_00_08_80_00_34_12)
    assert port.uart.read(0, 2) == 0x3412
    if size == 8:
        assert port[SCR] == 0xEE


def test_past_the_last_port_is_the_idle_bus(port):
    port.uart.write(SCR, 4, 0x11223344)
    assert port.uart.read(SCR, 4) == 0xFFFFFF44


ACTION = st.one_of(
    st.tuples(
        st.sampled_from(["read", "write"]),
        st.integers(0, 7),
        st.sampled_from([1, 1, 1, 2, 4, 8]),
        st.integers(0, 2**64 - 1),
    ),
    st.tuples(st.sampled_from(["receive", "feed"]), st.binary(max_size=20)),
    st.tuples(st.just("reset")),
    st.tuples(st.just("receive_break")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTION, max_size=60))
def test_no_script_hurts_the_port(script):
    ledger = Ledger()
    errors = GuestErrorLog(ledger.trace)
    context = DeviceContext("serial", memory=GuestMemory(), ledger=ledger, errors=errors)
    console = Console()
    port = Serial16550(context, console)
    typist = Typist(port)
    for name, *arguments in script:
        if name == "write":
            offset, size, value = arguments
            port.write(offset, size, value & (1 << 8 * size) - 1)
        elif name == "read":
            offset, size, _ = arguments
            assert 0 <= port.read(offset, size) < 1 << 8 * size
        else:
            getattr(typist if name == "feed" else port, name)(*arguments)
        assert not (typist.waiting and port.can_receive()), "room, and nobody was told"
        assert 0 <= port.can_receive() <= uart.FIFO_LENGTH - len(port._fifo)
        assert len(port._fifo) <= uart.FIFO_LENGTH
        assert bool(context.irq.level) == (port._iir & uart.IIR_ID_MASK != NONE)
        assert port._lsr & IDLE == IDLE
    assert ledger.qemu_to_host.count == len(console.output)
