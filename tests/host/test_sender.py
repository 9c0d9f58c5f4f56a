"""Somebody at the far end: frames come by the clock, or one for each answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.errors import UsageError
from toyvisor.host.net import NetBackend
from toyvisor.host.sender import Requester, Sender
from toyvisor.host.tap import TX_QUEUE_LEN, Tap
from toyvisor.host.timers import Timers


class Street:
    """A tap whose arrivals are written down with their time."""

    def __init__(self) -> None:
        self.now = 0
        self.timers = Timers()
        self.tap = Tap("tap0")
        self.log: list[tuple[int, bytes]] = []
        self.tap.add_waiter(self._arrived)
        self.keep = False

    def _arrived(self) -> None:
        if not self.keep:
            frame = self.tap.recv()
            assert frame is not None
            self.log.append((self.now, frame))

    def until(self, end: int) -> None:
        """Time goes on, from one timer to the next."""
        while self.timers.next is not None and self.timers.next <= end:
            self.now = self.timers.next
            self.timers.run_due(self.now)
        self.now = end

    def answer(self) -> None:
        self.tap.transmit(bytearray(60))


@pytest.fixture
def street():
    return Street()


FRAMES = [b"a", b"b", b"c", b"d", b"e"]


def test_frames_come_one_at_a_time_from_the_first_interval_on(street):
    sender = Sender(street.tap, FRAMES, street.timers, interval=10)
    street.until(9)
    assert street.log == []
    street.until(1000)
    assert street.log == [(10, b"a"), (20, b"b"), (30, b"c"), (40, b"d"), (50, b"e")]
    assert (sender.sent, sender.dropped, sender.done) == (5, 0, True)
    assert street.timers.next is None


def test_a_burst_comes_in_one_moment(street):
    sender = Sender(street.tap, FRAMES, street.timers, burst=2, interval=7)
    street.until(14)
    assert street.log == [(7, b"a"), (7, b"b"), (14, b"c"), (14, b"d")]
    assert not sender.done
    street.until(21)
    assert street.log[4:] == [(21, b"e")]
    assert sender.done


def test_after_a_long_jump_all_that_was_due_comes_in_order(street):
    sender = Sender(street.tap, FRAMES, street.timers, interval=10)
    street.timers.run_due(45)
    assert [frame for _, frame in street.log] == FRAMES[:4]
    assert street.timers.next == 50
    assert not sender.done


def test_a_sender_does_not_wait_for_those_who_do_not_read(street):
    street.keep = True
    sender = Sender(street.tap, [b"x"] * 600, street.timers, burst=100, interval=1)
    street.until(6)
    assert (sender.sent, sender.dropped) == (TX_QUEUE_LEN, 100)
    assert sender.done
    assert street.tap.tx_dropped == 100


def test_a_sender_without_frames_is_done(street):
    assert Sender(street.tap, [], street.timers, interval=1).done
    assert street.timers.next is None


@pytest.mark.parametrize("wrong", [{"burst": 0}, {"interval": 0}, {"interval": -5}])
def test_time_must_pass_between_frames(street, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sender(street.tap, FRAMES, street.timers, **wrong)


def test_a_requester_waits_for_the_answer_and_thinks(street):
    requester = Requester(street.tap, FRAMES[:3], street.timers, lambda: street.now, interval=5)
    street.until(100)
    assert street.log == [(5, b"a")]
    street.answer()
    street.until(104)
    assert len(street.log) == 1
    street.until(105)
    assert street.log[1:] == [(105, b"b")]
    street.answer()
    street.until(200)
    assert street.log[2:] == [(110, b"c")]
    assert (requester.sent, requester.answered, requester.done) == (3, 2, False)
    street.answer()
    assert requester.done
    assert street.timers.next is None


def test_what_was_not_asked_for_is_no_answer(street):
    requester = Requester(street.tap, FRAMES, street.timers, lambda: street.now, interval=5)
    street.answer()
    street.until(5)
    assert (requester.sent, requester.answered) == (1, 0)
    street.answer()
    street.answer()
    assert requester.answered == 1
    street.until(20)
    assert requester.sent == 2, "one thought, one request"


def test_a_request_that_finds_no_room_is_sent_again(street):
    street.keep = True
    for _ in range(TX_QUEUE_LEN):
        street.tap.deliver(b"x")
    requester = Requester(street.tap, FRAMES, street.timers, lambda: street.now, interval=5)
    street.until(12)
    assert (requester.sent, street.tap.tx_dropped) == (0, 2)
    street.tap.recv()
    street.until(15)
    assert requester.sent == 1


@given(
    st.lists(st.binary(min_size=1, max_size=4), max_size=30),
    st.integers(1, 5),
    st.integers(1, 20),
    st.lists(st.integers(1, 60), max_size=20),
)
def test_however_time_passes_the_same_frames_come_at_the_same_time(frames, burst, interval, steps):
    """Time may be looked at as often or as seldom as anybody likes."""
    street = Street()
    sender = Sender(street.tap, frames, street.timers, burst=burst, interval=interval)
    for step in steps:
        street.until(street.now + step)
    end = street.now
    expected = [
        (interval * (1 + number // burst), frame)
        for number, frame in enumerate(frames)
        if interval * (1 + number // burst) <= end
    ]
    assert street.log == expected
    assert sender.sent == len(expected)
    assert sender.done == (len(expected) == len(frames))


def test_a_network_can_send_its_frames_in():
    net, timers = NetBackend(FRAMES), Timers()
    sender = net.start_sender(timers, burst=5, interval=3)
    timers.run_due(3)
    assert sender.done
    while net.file.recv() is not None:
        pass
    assert net.received == FRAMES
    assert net.sent == []
    assert net.real_files == ()


def test_a_network_can_be_a_client():
    net, timers = NetBackend(FRAMES), Timers()
    requester = net.start_requester(timers, lambda: 0, interval=3)
    timers.run_due(3)
    net.file.transmit(bytearray(60))
    assert requester.answered == 1
    assert net.sent == [bytes(60)]
