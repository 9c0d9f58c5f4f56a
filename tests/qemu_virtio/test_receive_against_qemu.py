"""Frames from the network, given to Toyvisor's card and to QEMU's own.

Compared are the used ring with used.flags or avail_event (who wants a kick when), the frames
in guest RAM, InterruptStatus and Status. QEMU gets its frames over a socket (net/dgram.c) and
lets one that has no room wait in a queue (net/queue.c), so ours does here, too.

QEMU 7.2 does not write num_buffers unless VIRTIO_NET_F_MRG_RXBUF was negotiated, which 5.1.6.4.1
asks for (newer ones do); the buffers have the right number there before.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qtest_kit import QEMU, QTest
from test_against_qemu import LENIENT, OPTIONS, RAM, Twin
from test_virtio_hostile import FATAL, TABLES
from virtio_kit import EVENT_IDX, FRAMES, INDIRECT, LIVE, NEEDS_RESET, frame

from toyvisor.qemu.virtio.net import DEFAULT_MAC
from toyvisor.qemu.virtio.net_format import RECEIVE_BUFFER
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.virtio.driver import QueueFullError
from toyvisor.virtio.net import HEADER_SIZE, MRG_RXBUF, RECEIVE

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")

EVERY_OPTION = OPTIONS | {f"{name}+mrg_rxbuf": bits | MRG_RXBUF for name, bits in OPTIONS.items()}
every_option = pytest.mark.parametrize("features", EVERY_OPTION.values(), ids=EVERY_OPTION)
FRESH = b"\xee" * 10 + b"\x01\x00" + b"\xee" * 4096


@pytest.fixture(scope="module")
def qemu(tmp_path_factory):
    oracle = QTest(tmp_path_factory.mktemp("qtest"), DEFAULT_MAC.hex(":"))
    yield oracle
    oracle.close()


class NetQueue:
    """net/queue.c: frames the device has no room for wait, and are delivered at a flush."""

    def __init__(self) -> None:
        self.peer = None
        self.waiting: deque[bytes] = deque()

    def deliver(self, data: bytes) -> None:
        self.waiting.append(data)
        if len(self.waiting) == 1:
            self.flush()

    def flush(self) -> None:
        while self.waiting and self.peer.receive(memoryview(self.waiting[0])):
            self.waiting.popleft()


class ReceiveTwin(Twin):
    """`queue` is the driver's end of both cards' receive queue."""

    def make_client(self):
        self.network = NetQueue()
        self.parts: dict[int, list[tuple[int, int]]] = {}
        self.room = FRAMES
        return self.network

    def bring_up(self, features: int = 0, size: int = 16) -> ReceiveTwin:
        self.negotiate(features | 1 << 32)
        self.queue = self.lay_out(RECEIVE, size, features)
        self.parts.clear()
        self.write(Reg.STATUS, LIVE)
        return self

    def upload(self) -> None:
        """Descriptors and available ring; what the cards have written is theirs."""
        queue = self.queue
        spans = ((queue.desc, queue.used - queue.desc), (queue.tables, queue.end - queue.tables))
        for start, length in (*spans, (TABLES, 256)):
            if length:
                self.qemu.store(start, bytes(self.memory.view(start, length)))

    def fill(self, address: int, data: bytes) -> tuple[int, int]:
        self.qemu.store(address, data)
        return self.put(address, data)

    def add_receive(self, *lengths: int) -> int:
        if self.room + sum(lengths) + 16 * len(lengths) > RAM:
            self.room = FRAMES
        spans, at = [], 0
        for length in lengths:
            spans.append(self.fill(self.room, FRESH[at : at + length]))
            self.room += length + 16
            at += length
        head = self.queue.add_buffer([], spans)
        self.parts[head] = spans
        return head

    def post(self, *buffers: tuple[int, ...]) -> bool:
        """Add buffers; kick both cards if ours wants it. (They agree: see compare().)"""
        for lengths in buffers:
            self.add_receive(*lengths)
        wanted = self.queue.publish()
        self.upload()
        if wanted:
            self.kick(RECEIVE)
        return wanted

    def arrive(self, *frames: bytes) -> None:
        for data in frames:
            self.network.deliver(data)
            self.qemu.deliver(data)

    def reap(self) -> list[tuple[int, bytes]]:
        """Take the used buffers back, when both cards have the same in theirs."""
        self.compare()
        back = []
        for head, length in self.queue.reap():
            mine, theirs, left = b"", b"", length
            for address, size in self.parts.pop(head):
                take = min(size, left)
                mine += bytes(self.memory.view(address, take))
                theirs += self.qemu.load(address, take) if take else b""
                left -= take
            assert mine == theirs
            back.append((length, mine))
        return back

    def received(self) -> list[bytes]:
        frames, back = [], self.reap()
        while back:
            count = int.from_bytes(back[0][1][10:12], "little")
            whole = b"".join(data for _, data in back[:count])
            assert whole[:10] == bytes(10)
            frames.append(whole[HEADER_SIZE:])
            back = back[count:]
        return frames


@every_option
@pytest.mark.parametrize("length", [14, 59, 60, 1514])
def test_a_frame_arrives_alike(qemu, features, length):
    twin = ReceiveTwin(qemu).bring_up(features)
    twin.post((RECEIVE_BUFFER,))
    twin.arrive(frame(1, length))
    assert twin.received() == [frame(1, length)]
    assert twin.interrupts == 1
    twin.write(Reg.INTERRUPT_ACK, 1)
    assert twin.interrupts == 0


@every_option
def test_all_of_a_buffer_is_alike(qemu, features):
    """What lies behind the frame is as it was."""
    twin = ReceiveTwin(qemu).bring_up(features)
    twin.post((5, 20, 100, 100))
    (spans,) = twin.parts.values()
    twin.arrive(frame(1))
    for address, size in spans:
        assert qemu.load(address, size) == bytes(twin.memory.view(address, size))
    assert twin.received() == [frame(1)]


@pytest.mark.parametrize("features", [0, INDIRECT], ids=["plain", "indirect"])
@pytest.mark.parametrize("cut", [1, 9, 10, 11, 12, 13, 40, 71])
def test_a_buffer_cut_in_two_alike(qemu, features, cut):
    twin = ReceiveTwin(qemu).bring_up(features)
    twin.post((cut, 72 - cut))
    twin.arrive(frame(3))
    assert twin.received() == [frame(3)]


@every_option
def test_frames_wait_for_buffers_alike(qemu, features):
    twin = ReceiveTwin(qemu).bring_up(features)
    twin.arrive(frame(0), frame(1), frame(2))
    twin.compare()
    came = []
    for number in range(3, 6):
        assert twin.post((100,))
        came += twin.received()
        twin.arrive(frame(number))
    assert twin.post(*[(100,)] * 4)
    came += twin.received()
    assert came == [frame(number) for number in range(6)]


@pytest.mark.parametrize("features", [0, EVENT_IDX], ids=["flag", "event_idx"])
def test_kicks_are_wanted_alike(qemu, features):
    """compare() has used.flags and avail_event of both."""
    twin = ReceiveTwin(qemu).bring_up(features)
    wanted = []
    for count in (0, 1, 0, 2, 1, 0, 2, 0, 0):
        wanted.append(twin.post((100,)))
        twin.compare()
        twin.arrive(*[frame(count)] * count)
        twin.compare()
    assert len(twin.received()) == 6
    # By flag it is the first two, as nothing has come in between; by index the first alone.
    assert wanted == [True, not features] + [False] * 7


@pytest.mark.parametrize("features", [0, EVENT_IDX], ids=["flag", "event_idx"])
def test_interrupts_are_suppressed_alike(qemu, features):
    twin = ReceiveTwin(qemu).bring_up(features)
    twin.post(*[(100,)] * 8)
    twin.arrive(frame())  # QEMU interrupts for the first buffer in any case
    twin.received()
    twin.write(Reg.INTERRUPT_ACK, 1)
    twin.queue.want_interrupts(False)
    twin.upload()
    twin.arrive(frame(), frame())
    assert len(twin.received()) == 2
    assert twin.interrupts == 0


def test_used_event_is_respected_alike(qemu):
    twin = ReceiveTwin(qemu).bring_up(EVENT_IDX)
    twin.post(*[(100,)] * 16)
    twin.arrive(frame())
    twin.received()
    seen = []
    for ahead in (3, 2, 1, 1, 2, 1, 9):
        twin.write(Reg.INTERRUPT_ACK, 1)
        twin.queue.want_interrupt_after(ahead)
        twin.upload()
        twin.arrive(frame())
        twin.received()
        seen.append(twin.interrupts)
    assert seen == [0, 0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    "features", [0, EVENT_IDX, INDIRECT], ids=["flag", "event_idx", "indirect"]
)
def test_a_frame_over_several_buffers_alike(qemu, features):
    twin = ReceiveTwin(qemu).bring_up(MRG_RXBUF | features)
    twin.post((12,), (20, 30), (40,), (500,), (12, 12), (100,))
    twin.arrive(frame(1, 14), frame(2, 60), frame(3, 60))
    assert twin.received() == [frame(1, 14), frame(2, 60), frame(3, 60)]


@pytest.mark.parametrize("features", [0, EVENT_IDX], ids=["flag", "event_idx"])
def test_too_few_buffers_wait_for_more_alike(qemu, features):
    twin = ReceiveTwin(qemu).bring_up(MRG_RXBUF | features)
    twin.arrive(frame(1, 200))
    for _ in range(4):
        assert twin.post((20, 30))
        assert twin.reap() == []
    assert twin.post((50,))
    assert twin.received() == [frame(1, 200)]


def test_a_frame_that_does_not_fit_is_dropped_and_the_buffer_stays_alike(qemu):
    twin = ReceiveTwin(qemu).bring_up()
    twin.post((71,), (100,))
    twin.arrive(frame(1), frame(2), frame(3, 59), frame(4))
    assert twin.received() == [frame(3, 59), frame(4)]
    assert twin.rules == ["virtio.net.rx-small"] * 2


def test_a_buffer_of_just_the_header_alike(qemu):
    """A smaller one ends QEMU 7.2: an assertion in iov_from_buf()."""
    twin = ReceiveTwin(qemu).bring_up()
    twin.post((12,), (RECEIVE_BUFFER,))
    twin.arrive(frame(1), frame(2))
    assert twin.reap() == []


def test_a_buffer_with_readable_descriptors_alike(qemu):
    twin = ReceiveTwin(qemu).bring_up()
    spans = [twin.fill(FRAMES + 0x100, FRESH[:100])]
    head = twin.queue.add_buffer([twin.fill(FRAMES, b"driver's")], spans)
    twin.parts[head] = spans
    twin.queue.publish()
    twin.kick(RECEIVE)
    twin.arrive(frame(1))
    assert twin.received() == [frame(1)]
    assert qemu.load(FRAMES, 8) == b"driver's"


def test_a_buffer_that_cannot_be_written_breaks_both(qemu):
    """With MRG_RXBUF QEMU's waits for ever: it adds up the bytes that can be written."""
    twin = ReceiveTwin(qemu).bring_up()
    twin.queue.add_buffer([(FRAMES, 100)])
    twin.queue.publish()
    twin.kick(RECEIVE)
    twin.arrive(frame(1))
    assert twin.net.status == LIVE | NEEDS_RESET
    twin.compare(flags=False)


# QEMU writes to device registers, too, through a bounce buffer. (The case's four bytes end it.)
ON_A_DEVICE = "11 the device's own Status register"
BREAKS_BOTH = [name for name in FATAL if name not in LENIENT and name != ON_A_DEVICE]


@pytest.mark.parametrize("name", BREAKS_BOTH)
def test_what_breaks_our_card_breaks_qemus(qemu, name):
    _, features, break_it = FATAL[name]
    twin = ReceiveTwin(qemu).bring_up(features, size=8)
    break_it(twin)
    twin.kick(RECEIVE)
    twin.arrive(frame(1))
    assert twin.net.status == LIVE | NEEDS_RESET
    twin.compare(flags=False)
    twin.bring_up(features)
    twin.post((100,))
    twin.arrive(frame(2))
    assert twin.received() == [frame(2)]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("post"),
            st.lists(st.lists(st.integers(1, 80), min_size=1, max_size=3), min_size=1, max_size=3),
        ),
        st.tuples(st.just("arrive"), st.lists(st.integers(14, 200), min_size=1, max_size=3)),
        st.tuples(st.just("want"), st.booleans()),
        st.tuples(st.just("event"), st.integers(-2, 6)),
        st.tuples(st.just("kick"), st.none()),
        st.tuples(st.just("acknowledge"), st.integers(0, 3)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, features=st.sampled_from(list(EVERY_OPTION.values())))
def test_any_honest_driver_sees_the_same_from_both(qemu, steps, features):
    twin = ReceiveTwin(qemu).bring_up(features, size=16)
    twin.post((100,))
    twin.arrive(frame())  # QEMU interrupts for the first buffer in any case
    twin.received()
    twin.write(Reg.INTERRUPT_ACK, 1)
    for number, (what, value) in enumerate(steps):
        if what == "post":
            post_all(twin, value, features)
        elif what == "arrive" and len(twin.network.waiting) < 5:  # a socket takes no more
            twin.arrive(*(frame(number, length) for length in value))
        elif what == "want":
            twin.queue.want_interrupts(value)
            twin.upload()
        elif what == "event" and features & EVENT_IDX:
            twin.queue.write_used_event((twin.queue.last_used + value) & 0xFFFF)
            twin.upload()
        elif what == "kick":
            twin.kick(RECEIVE)
        elif what == "acknowledge":
            twin.write(Reg.INTERRUPT_ACK, value)
        twin.received()
    while twin.network.waiting:  # QEMU must not keep any for the next example
        twin.post((212,))
        twin.reap()


def post_all(twin, shapes, features):
    for shape in shapes:
        # A buffer of less than a header ends QEMU 7.2; buffers that together are too small for
        # a frame make it wait for ever.
        first, *others = shape
        least = 20 if features & MRG_RXBUF else 12 - sum(others)
        try:
            twin.post((max(first, least), *others))
        except QueueFullError:
            return
