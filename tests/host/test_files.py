"""The files behind the system calls: wire, tap, console, and what the calls cost."""

from __future__ import annotations

from errno import EINVAL

import pytest

from toyvisor.host.console import Console
from toyvisor.host.syscalls import write, writev
from toyvisor.host.tap import Tap
from toyvisor.host.wire import Wire
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger


@pytest.fixture
def ledger():
    return Ledger(Trace(enabled=True))


def seen(ledger):
    return [(event.kind.name, *event.fields.values()) for event in ledger.trace]


def test_writev_gathers_one_frame_and_counts_a_copy_a_part(ledger):
    wire = Wire()
    assert writev(ledger, wire, (bytes(12), b"ab", memoryview(b"cdef"))) == 18
    assert wire.frames == [bytes(12) + b"abcdef"]
    assert (ledger.qemu_to_host.count, ledger.qemu_to_host.bytes) == (3, 18)
    assert ledger.syscalls == {"writev": 1}
    assert seen(ledger)[-1] == ("syscall", "writev", "wire", 18)


def test_a_frame_on_the_wire_is_nobodys_buffer(ledger):
    wire, buffer = Wire(), bytearray(20)
    writev(ledger, wire, (buffer,))
    buffer[0] = 1
    assert wire.frames == [bytes(20)]
    assert isinstance(wire.frames[0], bytes)


def test_a_tap_hands_a_frame_to_all_at_its_far_end(ledger):
    one, two = Wire("one"), Wire("two")
    tap = Tap("tap0", one, two)
    assert writev(ledger, tap, (bytes(60),)) == 60
    assert one.frames == two.frames == [bytes(60)]
    assert tap.rx_packets == 1


@pytest.mark.parametrize("length", [0, 13, 65536])
def test_a_tap_refuses_what_is_no_frame(ledger, length):
    wire = Wire()
    tap = Tap("tap0", wire)
    assert writev(ledger, tap, (bytes(length),)) == -EINVAL
    assert wire.carried == 0
    assert (tap.rx_packets, tap.rx_frame_errors) == (0, 1)
    assert ledger.syscalls == {"writev": 1}
    assert ledger.qemu_to_host.bytes == length, "the copy was made before anyone looked"


@pytest.mark.parametrize("length", [14, 65535])
def test_a_tap_takes_the_least_and_the_longest_frame(ledger, length):
    wire = Wire()
    assert writev(ledger, Tap("tap0", wire), (bytes(length),)) == length
    assert wire.carried == 1


def test_a_wire_keeps_the_first_frames_and_counts_all():
    wire = Wire(limit=2)
    for length in (14, 15, 16):
        wire.receive(bytes(length))
    assert [len(frame) for frame in wire.frames] == [14, 15]
    assert (wire.carried, wire.bytes_carried, wire.dropped) == (3, 45, 1)


def test_a_wire_keeps_a_true_beginning_however_long_the_frames():
    wire = Wire(byte_limit=100)
    for length in (60, 60, 14):
        wire.receive(bytes(length))
    assert [len(frame) for frame in wire.frames] == [60]
    assert wire.dropped == 2


def test_write_is_one_call_and_one_copy(ledger):
    heard = []
    console = Console("tty", on_output=lambda data: heard.append(bytes(data)))
    assert write(ledger, console, b"hello") == 5
    assert (console.output, heard) == (b"hello", [b"hello"])
    assert (ledger.qemu_to_host.count, ledger.qemu_to_host.bytes) == (1, 5)
    assert ledger.syscalls == {"write": 1}
    assert seen(ledger) == [
        ("copy", "qemu->host", 5),
        ("syscall", "write", "tty", 5),
    ]


def test_a_console_keeps_the_beginning_and_passes_on_all():
    heard = bytearray()
    console = Console(on_output=heard.extend, limit=4)
    for part in (b"abc", b"def", b"ghi"):
        console.accept(bytearray(part))
    assert console.output == b"abcd"
    assert console.dropped == 5
    assert heard == b"abcdefghi"


def test_console_text_survives_bytes_that_are_none():
    console = Console()
    console.accept(bytearray("grüß ".encode() + b"\xff"))
    assert console.text == "grüß \N{REPLACEMENT CHARACTER}"
