"""Keys on their way to the serial port: they wait in the host's file until there is room."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_kit import Host

from toyvisor.host.console import Console
from toyvisor.host.console_input import InputBytes, InputFile
from toyvisor.memory import GuestMemory
from toyvisor.qemu.chardev import FdChardev
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.qemu.devices import serial_registers as uart
from toyvisor.qemu.devices.serial import Serial16550

DATA, FCR, MCR, LSR = 0, 2, 4, 5
FIFO_OF_FOUR = uart.FCR_ENABLE | 0x40


class Bench(Host):
    """A serial port with `file` on its line."""

    def __init__(self, file) -> None:
        super().__init__()
        context = DeviceContext(
            "serial",
            memory=GuestMemory(),
            ledger=self.ledger,
            errors=GuestErrorLog(self.ledger.trace),
        )
        self.uart = Serial16550(context, Console())
        self.file = file
        self.chardev = FdChardev(self.ledger, file, self.loop, self.uart)
        self.loop.start()

    def read(self, offset: int) -> int:
        return self.uart.read(offset, 1)

    def write(self, offset: int, value: int) -> None:
        self.uart.write(offset, 1, value)

    @property
    def has_byte(self) -> bool:
        return bool(self.read(LSR) & uart.LSR_DR)

    def drain(self) -> bytes:
        """What a polling driver reads if the vCPU gives way after each byte."""
        data = bytearray()
        self.settle()
        while self.has_byte:
            data.append(self.read(DATA))
            self.settle()
        return bytes(data)


def test_without_fifo_a_byte_is_a_turn_and_a_read():
    bench = Bench(InputBytes(b"hi"))
    with bench.costs(switches=2, copied=(1, 1), ppoll=1, read=1):
        bench.settle()
    assert bench.has_byte
    assert bench.file.readable, "the second one waits where it is"
    assert not bench.chardev.polling
    with bench.costs():
        bench.settle()
    with bench.costs(write_eventfd=1):
        assert bench.read(DATA) == ord("h")
    with bench.costs(switches=2, copied=(1, 1), ppoll=1, read=1, read_eventfd=1):
        bench.settle()
    assert bench.read(DATA) == ord("i")


def test_with_fifo_the_trigger_level_is_one_read():
    bench = Bench(InputBytes(b"hello"))
    bench.write(FCR, FIFO_OF_FOUR)
    with bench.costs(switches=2, copied=(1, 4), ppoll=1, read=1):
        bench.settle()
    assert bytes(bench.read(DATA) for _ in range(4)) == b"hell"
    bench.settle()
    assert bench.read(DATA) == ord("o")
    assert not bench.read(LSR) & uart.LSR_OE


@pytest.mark.parametrize("fcr", [0, FIFO_OF_FOUR, uart.FCR_ENABLE | 0xC0])
def test_all_arrives_and_nothing_overruns(fcr):
    text = bytes(range(256))
    bench = Bench(InputBytes(text))
    bench.write(FCR, fcr)
    assert bench.drain() == text
    assert not bench.read(LSR) & uart.LSR_OE
    with bench.costs():
        bench.settle()


def test_in_loopback_input_waits():
    bench = Bench(InputBytes(b"x"))
    bench.write(MCR, uart.MCR_LOOP)
    bench.settle()
    assert not bench.has_byte
    assert bench.file.readable
    bench.write(MCR, 0)
    bench.settle()
    assert bench.read(DATA) == ord("x")


def test_room_that_nobody_waits_for_costs_nothing():
    bench = Bench(InputBytes(b""))
    bench.uart.receive(b"typed elsewhere")
    with bench.costs():
        bench.read(DATA)
        bench.settle()


def test_the_end_of_a_live_file_is_the_end_of_polling():
    read_end, write_end = os.pipe()
    bench = Bench(InputFile(read_end))
    bench.write(FCR, FIFO_OF_FOUR)
    os.write(write_end, b"ab")
    bench.file.wake_up()  # as a Poller does
    with bench.costs(switches=2, copied=(1, 2), ppoll=1, read=1):
        bench.settle()
    os.close(write_end)
    bench.file.wake_up()
    with bench.costs(switches=2, ppoll=1, read=1):
        bench.settle()
    assert bench.chardev.at_end
    assert not bench.file.has_waiters
    with bench.costs():
        assert (bench.read(DATA), bench.read(DATA)) == (ord("a"), ord("b"))
        bench.settle()
    os.close(read_end)


STEP = st.one_of(
    st.tuples(st.just("read"), st.integers(1, 20)),
    st.tuples(st.just("settle"), st.just(0)),
    st.tuples(st.just("loop"), st.booleans()),
    st.tuples(st.just("trigger"), st.sampled_from([0, 0x40, 0x80, 0xC0])),
)


@settings(deadline=None)
@given(st.binary(max_size=100), st.lists(STEP, max_size=40))
def test_no_byte_is_lost_doubled_or_forgotten(text, steps):
    bench = Bench(InputBytes(text))
    bench.write(FCR, uart.FCR_ENABLE)
    data = bytearray()
    for name, value in steps:
        if name == "read":
            for _ in range(value):
                if bench.has_byte:
                    data.append(bench.read(DATA))
        elif name == "settle":
            bench.settle()
        elif name == "loop":
            bench.write(MCR, uart.MCR_LOOP if value else 0)
        else:
            bench.write(FCR, uart.FCR_ENABLE | value)
    bench.write(MCR, 0)
    data += bench.drain()
    assert data == text
    assert bench.ledger.host_to_qemu.bytes == len(text)
