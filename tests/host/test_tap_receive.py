"""The tap's other direction: frames wait for QEMU in a bounded queue."""

from __future__ import annotations

from errno import EAGAIN, EIO

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from toyvisor.host.syscalls import ppoll, read
from toyvisor.host.tap import TX_QUEUE_LEN, Tap
from toyvisor.host.wire import Wire
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger


@pytest.fixture
def ledger():
    return Ledger(Trace(enabled=True))


@pytest.fixture
def tap():
    return Tap("tap0")


@pytest.fixture
def buffer():
    return memoryview(bytearray(2000))


def seen(ledger):
    return [(event.kind.name, *event.fields.values()) for event in ledger.trace]


def test_frames_come_out_as_they_went_in_one_a_read(ledger, tap, buffer):
    for size in (60, 61):
        assert tap.deliver(bytes([size]) * size)
    assert read(ledger, tap, buffer) == 60
    assert buffer[:61] == b"\x3c" * 60 + b"\0"
    assert read(ledger, tap, buffer) == 61
    assert buffer[:61] == b"\x3d" * 61
    assert read(ledger, tap, buffer) == -EAGAIN
    assert tap.tx_packets == 2


def test_a_read_is_one_call_and_one_copy_and_an_empty_one_a_call(ledger, tap, buffer):
    tap.deliver(bytes(60))
    read(ledger, tap, buffer)
    read(ledger, tap, buffer)
    assert (ledger.host_to_qemu.count, ledger.host_to_qemu.bytes) == (1, 60)
    assert ledger.copies == 1
    assert ledger.syscalls == {"read": 2}
    assert seen(ledger) == [
        ("copy", "host->qemu", 60),
        ("syscall", "read", "tap0", 60),
        ("syscall", "read", "tap0", -EAGAIN),
    ]


def test_a_frame_too_long_for_the_buffer_loses_its_end(ledger, tap):
    tap.deliver(bytes(range(100)))
    buffer = memoryview(bytearray(64))
    assert read(ledger, tap, buffer) == 64
    assert buffer == bytes(range(64))
    assert ledger.host_to_qemu.bytes == 64
    assert not tap.readable, "the rest is gone, as with every datagram"


def test_an_error_of_the_file_is_a_negative_errno(ledger, buffer):
    class Down(Tap):
        def recv(self):
            raise OSError(EIO, "down")

    assert read(ledger, Down("tap0"), buffer) == -EIO
    assert ledger.syscalls == {"read": 1}
    assert ledger.copies == 0


def test_it_is_readable_while_a_frame_waits(tap):
    assert not tap.readable
    tap.deliver(bytes(60))
    assert tap.readable
    tap.recv()
    assert not tap.readable
    assert tap.recv() is None


def test_each_arrival_wakes_who_waits(tap):
    heard = []
    tap.add_waiter(lambda: heard.append(tap.queued))
    tap.deliver(bytes(60))
    tap.deliver(bytes(60))
    assert heard == [1, 2]


def test_a_full_queue_drops_and_counts_and_wakes_nobody(tap):
    for number in range(TX_QUEUE_LEN):
        assert tap.deliver(number.to_bytes(2, "big"))
    tap.add_waiter(pytest.fail)
    assert not tap.deliver(b"late")
    assert (tap.queued, tap.tx_dropped, tap.tx_packets) == (500, 1, 0)
    assert [tap.recv() for _ in range(2)] == [b"\0\0", b"\0\1"], "the oldest stay"
    assert tap.tx_packets == 2


def test_the_watcher_sees_what_is_read_and_not_what_waits():
    watcher = Wire()
    tap = Tap("tap0", watcher=watcher)
    tap.deliver(b"one")
    tap.deliver(b"two")
    tap.recv()
    assert watcher.frames == [b"one"]


def test_the_directions_do_not_meet(ledger):
    far_end = Wire()
    tap = Tap("tap0")
    tap.connect(far_end)
    tap.transmit(bytearray(60))
    assert not tap.readable
    tap.deliver(b"in")
    assert (far_end.carried, tap.rx_packets, tap.queued) == (1, 1, 1)


def test_ppoll_is_one_call_however_many_files(ledger, tap):
    other = Tap("tap1")
    other.deliver(b"x")
    assert ppoll(ledger, [tap, other]) == [other]
    assert ppoll(ledger, []) == []
    assert ledger.syscalls == {"ppoll": 2}
    assert seen(ledger)[0] == ("syscall", "ppoll", "2 files", 1)


class TapModel(RuleBasedStateMachine):
    """Against a list: order, bounds and counters, whatever comes and goes."""

    def __init__(self):
        super().__init__()
        self.tap = Tap("tap0")
        self.queue = []
        self.came = self.read = self.woken = 0
        self.tap.add_waiter(self._wake)

    def _wake(self):
        self.woken += 1

    @rule(count=st.integers(1, 200))
    def deliver(self, count):
        for _ in range(count):
            frame = self.came.to_bytes(4, "big")
            self.came += 1
            fits = len(self.queue) < TX_QUEUE_LEN
            assert self.tap.deliver(frame) == fits
            if fits:
                self.queue.append(frame)

    @rule(count=st.integers(1, 200))
    def recv(self, count):
        for _ in range(count):
            frame = self.tap.recv()
            assert frame == (self.queue.pop(0) if self.queue else None)
            self.read += frame is not None

    @invariant()
    def the_counters_add_up(self):
        tap = self.tap
        assert tap.queued == len(self.queue) <= TX_QUEUE_LEN
        assert tap.readable == bool(self.queue)
        assert tap.tx_packets == self.read
        assert self.woken == self.came - tap.tx_dropped == self.read + tap.queued


TestTapModel = TapModel.TestCase
