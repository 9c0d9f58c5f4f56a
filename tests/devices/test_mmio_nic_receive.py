"""mmio-nic, the way in: a frame in RX_BUFFER, load by load, and the next one after RELEASE."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_mmio_nic import ACCESS, Driver

from toyvisor.host.scheduler import Scheduler
from toyvisor.host.tap import TX_QUEUE_LEN, Tap
from toyvisor.memory import GuestMemory
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.qemu.devices import mmio_nic_registers as nic
from toyvisor.qemu.devices.mmio_nic import MmioNic
from toyvisor.qemu.main_loop import MainLoop
from toyvisor.qemu.net_client import NetClient
from toyvisor.trace.ledger import Ledger

MAC, OTHER = bytes.fromhex("0223456789ab"), bytes.fromhex("0223456789aa")
BROADCAST, MULTICAST = b"\xff" * 6, bytes.fromhex("01005e000001")


def frame(length: int = 60, to: bytes = MAC, number: int = 0) -> bytes:
    """A frame that is like no other."""
    rest = bytes((7 * place + number) & 0xFF | 1 for place in range(length - 6))
    return to + rest


class Receiver(Driver):
    """A driver of a card with a tap; `arrive()` has the main loop's turn, too."""

    def __init__(self, context: DeviceContext) -> None:
        self.context = context
        self.tap = Tap("tap0")
        self.client = NetClient(context.ledger, self.tap, context.main_loop)
        super().__init__(MmioNic(context, self.tap, MAC, client=self.client))

    def turn(self) -> None:
        while self.client.polling and self.tap.readable:
            self.client.tap_send()

    def arrive(self, *frames: bytes) -> None:
        for data in frames:
            self.tap.deliver(data)
        self.turn()

    def load(self, width: int = 4) -> bytes:
        """The frame, as a driver loads it: the last load may reach behind it."""
        length = self["RX_LENGTH"]
        parts = [
            self.card.read(nic.RX_BUFFER + start, width).to_bytes(width, "little")
            for start in range(0, length, width)
        ]
        return b"".join(parts)[:length]

    def release(self) -> None:
        self["RX_COMMAND"] = nic.RX_COMMAND_RELEASE

    def take(self, width: int = 4) -> list[bytes]:
        """All there is, in the order of the data sheet."""
        frames = []
        while self["RX_STATUS"] & nic.RX_STATUS_READY:
            self["INTERRUPT_ACK"] = nic.IRQ_RX_READY
            frames.append(self.load(width))
            self.release()
            self.turn()
        return frames

    @property
    def line(self) -> int:
        return self.context.irq.level


@pytest.fixture
def driver(bench):
    """A driver that has set the card up to receive."""
    driver = Receiver(bench.context("mmio-nic"))
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE
    return driver


# A frame ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [14, 15, 60, 61, 1513, 1514])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_frame_is_loaded_as_it_arrived(bench, driver, length, width):
    with bench.breaks():
        driver.arrive(frame(length))
        assert driver["RX_LENGTH"] == length
        assert driver.take(width) == [frame(length)]
    assert (driver["RX_COUNT"], driver["RX_DROPPED"], driver["RX_FILTERED"]) == (1, 0, 0)


def test_frames_come_one_by_one_and_in_order(driver):
    frames = [frame(60 + number, number=number) for number in range(20)]
    driver.arrive(*frames)
    assert driver["RX_COUNT"] == 1
    assert driver.take() == frames
    assert driver["RX_COUNT"] == 20


def test_it_costs_two_copies_and_the_loads(bench, driver):
    """Kernel to QEMU, QEMU to the card. What the loads cost the address space counts."""
    ledger = bench.ledger
    driver.arrive(frame(1514))
    hops = {hop.name: (hop.count, hop.bytes) for hop in ledger.hops if hop.count}
    assert hops == {"host->qemu": (1, 1514), "qemu->qemu": (1, 1514)}
    assert ledger.syscalls == {"read": 1}
    driver.take()
    assert ledger.copies == 2


def test_the_card_has_a_buffer_of_its_own(driver):
    data = bytearray(frame())
    assert driver.card.receive(memoryview(data))
    data[:] = bytes(60)
    assert driver.load() == frame()


def test_behind_the_frame_there_is_nothing_of_an_older_one(bench, driver):
    driver.arrive(frame(1514))
    driver.take()
    driver.arrive(frame(61))
    with bench.breaks():
        assert driver.card.read(nic.RX_BUFFER + 60, 8) == frame(61)[60]
        rest = [driver.card.read(nic.RX_BUFFER + place, 1) for place in range(61, 1536)]
    assert set(rest) == {0}


def test_both_directions_at_once(driver):
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE | nic.CONTROL_TX_ENABLE
    heard = []
    driver.tap.connect(type("End", (), {"receive": staticmethod(heard.append)}))
    driver.arrive(frame(100))
    driver.send(frame(70, OTHER))
    assert driver.take() == [frame(100)]
    assert heard == [frame(70, OTHER)]
    assert (driver["TX_COUNT"], driver["RX_COUNT"]) == (1, 1)


# Status ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "bits"),
    [
        (MAC, 0),
        (OTHER, 0),
        (BROADCAST, nic.RX_STATUS_BROADCAST),
        (MULTICAST, nic.RX_STATUS_MULTICAST),
    ],
)
def test_status_says_what_kind_of_frame_it_is(driver, to, bits):
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE | nic.CONTROL_PROMISC
    assert (driver["RX_STATUS"], driver["STATUS"]) == (0, nic.STATUS_LINK_UP)
    driver.arrive(frame(to=to))
    assert driver["RX_STATUS"] == nic.RX_STATUS_READY | bits
    assert driver["STATUS"] == nic.STATUS_LINK_UP | nic.STATUS_RX_READY
    driver.release()
    assert (driver["RX_STATUS"], driver["STATUS"]) == (0, nic.STATUS_LINK_UP)
    assert driver["RX_LENGTH"] == 0


def test_only_frames_to_this_card_and_to_all_are_taken(bench, driver):
    with bench.watched() as events:
        driver.arrive(frame(to=OTHER), frame(to=MULTICAST), frame(to=BROADCAST), frame())
    assert driver.take() == [frame(to=BROADCAST), frame()]
    assert (driver["RX_COUNT"], driver["RX_FILTERED"], driver["RX_DROPPED"]) == (2, 2, 0)
    assert ("device", "mmio-nic", "a frame to 02:23:45:67:89:aa, not to this card") in events
    assert bench.ledger.qemu_to_qemu.count == 2


def test_promisc_takes_them_all(driver):
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE | nic.CONTROL_PROMISC
    frames = [frame(to=to) for to in (OTHER, MULTICAST, BROADCAST, MAC)]
    driver.arrive(*frames)
    assert driver.take() == frames
    assert driver["RX_FILTERED"] == 0


@pytest.mark.parametrize("length", [0, 1, 13, 1515, 1536, 1537, 65535])
def test_what_is_no_ethernet_frame_is_dropped_whomever_it_is_to(bench, driver, length):
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE | nic.CONTROL_PROMISC
    with bench.breaks():
        assert driver.card.receive(memoryview(frame(65535)[:length]))
    assert (driver["RX_LENGTH"], driver["RX_COUNT"], driver["RX_DROPPED"]) == (0, 0, 1)
    driver.arrive(frame())
    assert driver.take() == [frame()]


# Waiting ---------------------------------------------------------------------------------


def test_while_the_buffer_is_taken_frames_wait_in_the_tap(bench, driver):
    driver.arrive(*(frame(number=number) for number in range(5)))
    assert (driver.tap.queued, driver.client.polling) == (4, False)
    assert bench.ledger.syscalls == {"read": 1}
    driver.release()
    driver.turn()
    assert (driver.tap.queued, driver.load()) == (3, frame(number=1))


def test_what_is_too_much_is_dropped_by_the_tap(driver):
    driver.arrive(frame())
    driver.arrive(*[frame()] * (TX_QUEUE_LEN + 3))
    assert driver.tap.tx_dropped == 3
    assert len(driver.take()) == 1 + TX_QUEUE_LEN
    assert driver["RX_DROPPED"] == 0


def test_until_the_receiver_is_enabled_frames_wait(bench):
    driver = Receiver(bench.context("mmio-nic"))
    driver.arrive(frame())
    assert (driver["RX_LENGTH"], driver.tap.queued) == (0, 1)
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE
    driver.turn()
    assert driver.take() == [frame()]


def test_a_frame_stays_when_the_receiver_is_switched_off(driver):
    driver.arrive(frame(60), frame(61))
    driver["CONTROL"] = 0
    assert driver.take() == [frame(60)]
    assert driver.tap.queued == 1
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE
    driver.turn()
    assert driver.take() == [frame(61)]


def test_reset_throws_the_frame_away_and_those_outside_wait(bench, driver):
    driver.arrive(frame(60), frame(61))
    driver["INTERRUPT_MASK"] = nic.IRQ_RX_READY
    driver["CONTROL"] = nic.CONTROL_RESET
    driver.turn()
    assert (driver["RX_LENGTH"], driver["RX_STATUS"], driver["RX_COUNT"]) == (0, 0, 0)
    assert (driver.line, driver["STATUS"], driver.tap.queued) == (0, nic.STATUS_LINK_UP, 1)
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE
    driver.turn()
    assert driver.take() == [frame(61)]
    assert bench.errors.count == 0


def test_a_card_without_a_client_receives_when_it_is_called(bench):
    driver = Driver(MmioNic(bench.context("mmio-nic"), Tap("tap0"), MAC))
    assert not driver.card.can_receive()
    assert not driver.card.receive(memoryview(frame()))
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE
    assert driver.card.receive(memoryview(frame()))
    assert not driver.card.receive(memoryview(frame()))
    driver["RX_COMMAND"] = nic.RX_COMMAND_RELEASE
    assert driver.card.can_receive()


def test_release_wakes_the_main_loop(bench):
    scheduler = Scheduler(bench.ledger)
    context = bench.context("mmio-nic")
    context.main_loop = MainLoop(bench.ledger, scheduler)
    driver = Receiver(context)
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE
    context.main_loop.start()
    for number in range(3):
        driver.tap.deliver(frame(number=number))
    scheduler.run_others()
    for number in range(3):
        assert driver.load() == frame(number=number)
        polls = bench.ledger.syscalls["ppoll"]
        driver.release()
        assert driver["RX_LENGTH"] == 0  # nothing happens in the vCPU's thread
        scheduler.run_others()
        assert bench.ledger.syscalls["ppoll"] > polls
    assert driver["RX_LENGTH"] == 0


# Interrupts ------------------------------------------------------------------------------


def test_a_frame_interrupts_if_it_may(driver):
    driver.arrive(frame())
    assert (driver["INTERRUPT_STATUS"], driver.line) == (nic.IRQ_RX_READY, 0)
    driver["INTERRUPT_MASK"] = nic.IRQ_RX_READY
    assert driver.line == 1
    driver["INTERRUPT_ACK"] = nic.IRQ_RX_READY
    assert (driver["INTERRUPT_STATUS"], driver.line) == (0, 0)
    assert driver["RX_STATUS"] & nic.RX_STATUS_READY  # the frame is still there


def test_each_frame_is_an_edge_of_its_own(bench, driver):
    driver["INTERRUPT_MASK"] = nic.IRQ_RX_READY
    with bench.watched() as events:
        driver.arrive(*[frame()] * 3)
        driver.take()
    edges = [event[2] for event in events if event[0] == "irq_line"]
    assert edges == [1, 0, 1, 0, 1, 0]


def test_acknowledging_after_release_may_wipe_out_the_next_frames_interrupt(driver):
    """The trap that the data sheet warns of."""
    driver["INTERRUPT_MASK"] = nic.IRQ_RX_READY
    driver.arrive(frame(60), frame(61))
    driver.release()
    driver.turn()
    driver["INTERRUPT_ACK"] = nic.IRQ_RX_READY
    assert (driver.line, driver["RX_LENGTH"]) == (0, 61)


def test_interrupts_of_both_directions_share_the_line(driver):
    driver["CONTROL"] = nic.CONTROL_RX_ENABLE | nic.CONTROL_TX_ENABLE
    driver["INTERRUPT_MASK"] = nic.IRQ_RX_READY | nic.IRQ_TX_DONE
    driver.send(frame())
    driver.arrive(frame())
    assert driver["INTERRUPT_STATUS"] == nic.IRQ_TX_DONE | nic.IRQ_RX_READY
    driver["INTERRUPT_ACK"] = nic.IRQ_TX_DONE
    assert driver.line == 1
    driver["INTERRUPT_ACK"] = nic.IRQ_RX_READY
    assert driver.line == 0


def test_a_frame_shows_in_the_trace_in_its_order(bench, driver):
    driver["INTERRUPT_MASK"] = nic.IRQ_RX_READY
    with bench.watched() as events:
        driver.arrive(frame())
    assert events == [
        ("copy", "host->qemu", 60),
        ("syscall", "read", "tap0", 60),
        ("copy", "qemu->qemu", 60),
        ("device", "mmio-nic", "receive 60 bytes"),
        ("irq_line", "mmio-nic", 1),
    ]


# Mistakes --------------------------------------------------------------------------------


def test_release_without_a_frame_is_refused(bench, driver):
    with bench.breaks("mmio-nic.rx-release"):
        driver.release()
    assert driver["STATUS"] & nic.STATUS_ACCESS_ERROR
    driver.arrive(frame())
    driver.release()
    with bench.breaks("mmio-nic.rx-release"):
        driver.release()


def test_release_of_a_frame_that_was_not_read_is_the_drivers_business(bench, driver):
    driver.arrive(frame(60), frame(61))
    with bench.breaks():
        driver.release()
    driver.turn()
    assert driver.load() == frame(61)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_loads_while_there_is_no_frame_give_0_and_are_reported(bench, driver, width):
    with bench.breaks("mmio-nic.rx-empty"):
        assert driver.card.read(nic.RX_BUFFER, width) == 0
    driver.arrive(frame())
    driver.release()
    with bench.breaks("mmio-nic.rx-empty"):
        assert driver.card.read(nic.RX_BUFFER + 4, width) == 0
    assert driver["STATUS"] & nic.STATUS_ACCESS_ERROR


@pytest.mark.parametrize("offset", [nic.RX_BUFFER, nic.RX_BUFFER + 3, nic.TX_BUFFER - 4])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_stores_to_the_receive_buffer_are_ignored(bench, driver, offset, width):
    driver.arrive(frame(1514))
    with bench.breaks("mmio-nic.read-only"):
        driver.card.write(offset, width, (1 << 8 * width) - 1)
    assert driver.load() == frame(1514)
    assert driver.card.read(nic.TX_BUFFER, 8) == 0


def test_the_buffer_is_readable_to_its_last_byte(bench, driver):
    driver.arrive(frame(1514))
    with bench.breaks():
        assert driver.card.read(nic.TX_BUFFER - 8, 8) == 0
        assert driver.card.read(nic.TX_BUFFER - 1, 1) == 0


@pytest.mark.parametrize("width", [2, 4, 8])
def test_no_load_reaches_over_into_the_other_buffer(bench, driver, width):
    driver.arrive(frame())
    driver.push(b"\x77" * 8)
    with bench.breaks("mmio-nic.buffer-range"):
        assert driver.card.read(nic.TX_BUFFER - 1, width) == 0
    assert "RX_BUFFER" in bench.errors.entries[-1][1].message


def test_receive_registers_are_read_only_and_whole(bench, driver):
    driver.arrive(frame())
    names = ["RX_LENGTH", "RX_STATUS", "RX_COUNT", "RX_DROPPED", "RX_FILTERED"]
    before = [driver[name] for name in names]
    with bench.breaks(*["mmio-nic.read-only"] * 5):
        for name in names:
            driver[name] = 0xFFFFFFFF
    with bench.breaks("mmio-nic.access-width", "mmio-nic.write-only", "mmio-nic.reserved-bits"):
        driver.card.read(nic.RX_LENGTH, 2)
        driver.card.read(nic.RX_COMMAND, 4)
        driver["RX_COMMAND"] = 0xFE  # no RELEASE among them
    assert [driver[name] for name in names] == before


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            ACCESS,
            st.tuples(st.sampled_from([MAC, OTHER]), st.integers(0, 1600)),
            st.just((True, nic.CONTROL, 4, nic.CONTROL_RX_ENABLE)),
            st.just((True, nic.RX_COMMAND, 4, nic.RX_COMMAND_RELEASE)),
        ),
        max_size=60,
    )
)
def test_no_script_of_accesses_and_frames_hurts_the_card(script):
    ledger = Ledger()
    errors = GuestErrorLog(ledger.trace)
    context = DeviceContext("nic", memory=GuestMemory(), ledger=ledger, errors=errors)
    card = MmioNic(context, Tap("tap0"), MAC)
    for step in script:
        if len(step) == 2:
            to, length = step
            room = card.can_receive()
            assert card.receive(memoryview(frame(1700, to)[:length])) == room
        elif step[0]:
            _, offset, size, value = step
            card.write(offset, size, value & (1 << 8 * size) - 1)
        else:
            _, offset, size, _ = step
            assert 0 <= card.read(offset, size) < 1 << 8 * size
        pending = card.read(nic.INTERRUPT_STATUS, 4) & card.read(nic.INTERRUPT_MASK, 4)
        assert context.irq.level == bool(pending)
        length = card.read(nic.RX_LENGTH, 4)
        assert length == 0 or 14 <= length <= 1514
        ready = card.read(nic.STATUS, 4) & nic.STATUS_RX_READY
        assert bool(ready) == bool(card.read(nic.RX_STATUS, 4)) == bool(length)
    assert ledger.qemu_to_qemu.count >= card.read(nic.RX_COUNT, 4)


# Against a simple model ------------------------------------------------------------------


class CardModel(RuleBasedStateMachine):
    """Any order of what the network and a driver can do; one list and one frame are the model."""

    @initialize()
    def start(self):
        ledger = Ledger()
        errors = GuestErrorLog(ledger.trace)
        context = DeviceContext("nic", memory=GuestMemory(), ledger=ledger, errors=errors)
        self.ledger, self.errors = ledger, errors
        self.driver = Receiver(context)
        self.outside: list[bytes] = []
        self.inside: bytes | None = None
        self.control = self.pending = self.mask = 0
        self.count = self.filtered = self.dropped = self.mistakes = 0
        self.copied = 0

    def settle(self):
        while self.outside and self.inside is None and self.control & nic.CONTROL_RX_ENABLE:
            data = self.outside.pop(0)
            if len(data) > 1514:
                self.dropped += 1
            elif data[:6] not in (MAC, BROADCAST) and not self.control & nic.CONTROL_PROMISC:
                self.filtered += 1
            else:
                self.inside = data
                self.pending |= nic.IRQ_RX_READY
                self.count += 1
                self.copied += len(data)
        self.driver.turn()

    @rule(
        to=st.sampled_from([MAC, OTHER, BROADCAST, MULTICAST]),
        length=st.one_of(st.integers(14, 100), st.integers(1500, 1520)),
    )
    def arrive(self, to, length):
        data = frame(length, to, length)
        self.outside.append(data)
        self.driver.tap.deliver(data)
        self.settle()

    @rule(enable=st.booleans(), promisc=st.booleans())
    def set_control(self, enable, promisc):
        self.control = enable * nic.CONTROL_RX_ENABLE | promisc * nic.CONTROL_PROMISC
        self.driver["CONTROL"] = self.control
        self.settle()

    @rule()
    def release(self):
        self.mistakes += self.inside is None
        self.inside = None
        self.driver.release()
        self.settle()

    @rule(mask=st.integers(0, 7))
    def set_mask(self, mask):
        self.driver["INTERRUPT_MASK"] = self.mask = mask

    @rule(bits=st.integers(0, 7))
    def acknowledge(self, bits):
        self.driver["INTERRUPT_ACK"] = bits
        self.pending &= ~bits

    @rule(place=st.integers(0, 1535))
    def load(self, place):
        expected = 0
        if self.inside is None:
            self.mistakes += 1
        else:
            expected = self.inside[place] if place < len(self.inside) else 0
        assert self.driver.card.read(nic.RX_BUFFER + place, 1) == expected

    @rule()
    def reset(self):
        self.driver["CONTROL"] = nic.CONTROL_RESET
        self.inside = None
        self.control = self.pending = self.mask = 0
        self.count = self.filtered = self.dropped = 0
        self.settle()

    @invariant()
    def agrees(self):
        driver = self.driver
        assert driver["RX_LENGTH"] == len(self.inside or b"")
        if self.inside is not None:
            assert driver.load(8) == self.inside
        assert bool(driver["STATUS"] & nic.STATUS_RX_READY) == (self.inside is not None)
        counts = driver["RX_COUNT"], driver["RX_FILTERED"], driver["RX_DROPPED"]
        assert counts == (self.count, self.filtered, self.dropped)
        assert driver["INTERRUPT_STATUS"] == self.pending
        assert driver.line == bool(self.pending & self.mask)
        assert driver.tap.queued == len(self.outside)
        assert self.errors.count == self.mistakes
        assert self.ledger.qemu_to_qemu.bytes == self.copied


CardModel.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestCardModel = CardModel.TestCase
