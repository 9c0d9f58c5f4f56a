"""mmio-nic, register by register and mistake by mistake."""

from __future__ import annotations

from errno import EINVAL
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.host.tap import Tap
from toyvisor.host.wire import Wire
from toyvisor.memory import GuestMemory
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.qemu.devices import mmio_nic_registers as nic
from toyvisor.qemu.devices.mmio_nic import MmioNic
from toyvisor.qemu.devices.mmio_nic_registers import REGISTERS, register_name
from toyvisor.trace.ledger import Ledger

MAC = bytes.fromhex("0123456789ab")
OFFSETS = {register.name: register.offset for register in REGISTERS}
FRAME = bytes(range(60))


class Driver:
    """What a guest's driver does, from Python."""

    def __init__(self, card: MmioNic) -> None:
        self.card = card

    def __getitem__(self, name: str) -> int:
        return self.card.read(OFFSETS[name], 4)

    def __setitem__(self, name: str, value: int) -> None:
        self.card.write(OFFSETS[name], 4, value)

    def push(self, frame: bytes, width: int = 4) -> None:
        for start in range(0, len(frame), width):
            part = frame[start : start + width]
            self.card.write(nic.TX_BUFFER + start, width, int.from_bytes(part, "little"))

    def send(self, frame: bytes, width: int = 4) -> None:
        self.push(frame, width)
        self["TX_LENGTH"] = len(frame)
        self["TX_COMMAND"] = nic.TX_COMMAND_SEND

    @property
    def error_code(self) -> int:
        status = self["TX_STATUS"]
        assert bool(status & nic.TX_STATUS_ERROR) == bool(status >> 8)
        return status >> nic.TX_STATUS_CODE_SHIFT & 0xFF


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def card(bench, wire):
    return MmioNic(bench.context("mmio-nic"), wire, MAC)


@pytest.fixture
def driver(card):
    """A driver that has set the card up to send."""
    driver = Driver(card)
    driver["CONTROL"] = nic.CONTROL_TX_ENABLE
    return driver


def test_a_driver_finds_the_card(card):
    assert card.read(nic.ID, 4).to_bytes(4, "little") == b"MNIC"
    assert card.read(nic.VERSION, 4) == 1


def test_the_mac_is_read_byte_zero_first(card):
    low, high = card.read(nic.MAC_LOW, 4), card.read(nic.MAC_HIGH, 4)
    assert low.to_bytes(4, "little") + high.to_bytes(2, "little") == MAC


def test_a_mac_has_six_bytes(bench, wire):
    with pytest.raises(ValueError, match="6 bytes, not 5"):
        MmioNic(bench.context("mmio-nic"), wire, bytes(5))


def test_every_readable_register_has_its_reset_value(bench, card):
    for register in REGISTERS:
        if "R" in register.access and register.width == 4 and "MAC" not in register.name:
            assert card.read(register.offset, 4) == register.reset, register.name
    assert bench.errors.count == 0


@pytest.mark.parametrize("name", ["SCRATCH", "TX_LENGTH"])
@pytest.mark.parametrize("value", [0, 1, 0x12345678, 0xFFFFFFFF])
def test_plain_registers_hold_32_bits(card, name, value):
    driver = Driver(card)
    driver[name] = value
    assert driver[name] == value


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("shift", [0, 1, 3, 7])
def test_the_buffer_takes_any_width_at_any_alignment(bench, card, width, shift):
    value = int.from_bytes(b"\x88\x77\x66\x55\x44\x33\x22\x11"[:width], "little")
    card.write(nic.TX_BUFFER + shift, width, value)
    assert card.read(nic.TX_BUFFER + shift, width) == value
    assert card.read(nic.TX_BUFFER + shift, 1) == 0x88
    assert card.read(nic.TX_BUFFER + shift + width, 1) == 0
    assert bench.errors.count == 0


def test_the_buffer_is_usable_to_its_last_byte(bench, card):
    card.write(0xFF8, 8, 0x1122334455667788)
    assert card.read(0xFFF, 1) == 0x11
    assert bench.errors.count == 0


@pytest.mark.parametrize("length", [14, 60, 61, 1513, 1514])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_frame_arrives_as_it_was_stored(bench, driver, wire, length, width):
    frame = bytes(n * 7 & 0xFF for n in range(length))
    driver.push(frame, width)
    driver["TX_LENGTH"] = length
    with bench.costs(copies=1, copied=length, writev=1), bench.breaks():
        driver["TX_COMMAND"] = nic.TX_COMMAND_SEND
    assert wire.frames == [frame]
    assert driver["TX_STATUS"] == nic.TX_STATUS_DONE
    assert driver["TX_COUNT"] == 1
    assert driver["TX_ERRORS"] == 0


def test_stores_into_the_card_are_no_copies_of_its_own(bench, driver):
    """The address space counts kvm->qemu; here it would be counted twice."""
    with bench.costs():
        driver.push(FRAME)


def test_the_buffer_keeps_the_frame_for_another_send(driver, wire):
    driver.send(FRAME)
    driver["TX_COMMAND"] = nic.TX_COMMAND_SEND
    assert wire.frames == [FRAME, FRAME]
    assert driver["TX_COUNT"] == 2


def test_ready_follows_enable(card):
    driver = Driver(card)
    assert driver["STATUS"] == nic.STATUS_LINK_UP
    driver["CONTROL"] = nic.CONTROL_TX_ENABLE
    assert driver["STATUS"] == nic.STATUS_LINK_UP | nic.STATUS_TX_READY
    driver["CONTROL"] = 0
    assert driver["STATUS"] == nic.STATUS_LINK_UP


def test_reset_brings_back_power_on(bench, driver, card):
    driver.send(FRAME)
    driver["SCRATCH"] = 5
    driver["INTERRUPT_MASK"] = 3
    assert card.read(nic.TX_BUFFER + 1, 1) == 1
    driver["CONTROL"] = nic.CONTROL_RESET | nic.CONTROL_TX_ENABLE
    for register in REGISTERS:
        if "R" in register.access and register.width == 4 and "MAC" not in register.name:
            assert card.read(register.offset, 4) == register.reset, register.name
    assert card.read(nic.TX_BUFFER + 1, 1) == 0
    assert driver["MAC_LOW"] == int.from_bytes(MAC[:4], "little")
    assert bench.errors.count == 0


# Interrupts ------------------------------------------------------------------------------


def test_a_masked_interrupt_is_pending_but_silent(driver, card):
    driver.send(FRAME)
    assert driver["INTERRUPT_STATUS"] == nic.IRQ_TX_DONE
    assert card._context.irq.level == 0


def test_unmasking_a_pending_interrupt_raises_the_line(driver, card):
    driver.send(FRAME)
    driver["INTERRUPT_MASK"] = nic.IRQ_TX_DONE
    assert card._context.irq.level == 1
    driver["INTERRUPT_MASK"] = 0
    assert card._context.irq.level == 0


def test_the_line_stays_up_until_every_cause_is_acknowledged(driver, card):
    driver["INTERRUPT_MASK"] = nic.IRQ_TX_DONE | nic.IRQ_TX_ERROR
    driver.send(FRAME)
    driver["TX_LENGTH"] = 0
    driver["TX_COMMAND"] = nic.TX_COMMAND_SEND
    assert driver["INTERRUPT_STATUS"] == nic.IRQ_TX_DONE | nic.IRQ_TX_ERROR
    driver["INTERRUPT_ACK"] = nic.IRQ_TX_ERROR
    assert (driver["INTERRUPT_STATUS"], card._context.irq.level) == (nic.IRQ_TX_DONE, 1)
    driver["INTERRUPT_ACK"] = nic.IRQ_TX_DONE
    assert (driver["INTERRUPT_STATUS"], card._context.irq.level) == (0, 0)


def test_without_an_acknowledgement_there_is_no_second_edge(bench, driver):
    driver["INTERRUPT_MASK"] = nic.IRQ_TX_DONE
    with bench.watched() as events:
        driver.send(FRAME)
        driver.send(FRAME)
    assert [event for event in events if event[0] == "irq_line"] == [("irq_line", "mmio-nic", 1)]


def test_reset_lowers_the_line(driver, card):
    driver["INTERRUPT_MASK"] = nic.IRQ_TX_DONE
    driver.send(FRAME)
    driver["CONTROL"] = nic.CONTROL_RESET
    assert card._context.irq.level == 0


# Mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (0, nic.TX_TOO_SHORT),
        (13, nic.TX_TOO_SHORT),
        (1515, nic.TX_TOO_LONG),
        (2048, nic.TX_TOO_LONG),
        (0xFFFFFFFF, nic.TX_TOO_LONG),
    ],
)
def test_a_length_that_is_no_frame_is_refused(bench, driver, wire, length, code):
    driver["TX_LENGTH"] = length
    with bench.breaks("mmio-nic.tx-length"), bench.costs():
        driver["TX_COMMAND"] = nic.TX_COMMAND_SEND
    assert driver.error_code == code
    assert driver["TX_STATUS"] & nic.TX_STATUS_DONE
    assert (driver["TX_ERRORS"], driver["TX_COUNT"]) == (1, 0)
    assert driver["INTERRUPT_STATUS"] == nic.IRQ_TX_ERROR
    assert wire.frames == []
    assert str(length) in bench.errors.entries[-1][1].message


def test_a_good_send_clears_the_error_before_it(bench, driver, wire):
    driver["TX_COMMAND"] = nic.TX_COMMAND_SEND
    driver.send(FRAME)
    assert driver["TX_STATUS"] == nic.TX_STATUS_DONE
    assert wire.frames == [FRAME]


def test_a_card_that_is_not_enabled_sends_nothing(bench, card, wire):
    driver = Driver(card)
    with bench.breaks("mmio-nic.tx-disabled"):
        driver.send(FRAME)
    assert driver.error_code == nic.TX_DISABLED
    assert wire.frames == []


def test_what_the_host_refuses_is_an_error_of_the_card(bench):
    class FullTap(Tap):
        def transmit(self, frame):
            raise OSError(EINVAL, "no")

    driver = Driver(MmioNic(bench.context("mmio-nic"), FullTap("tap0")))
    driver["CONTROL"] = nic.CONTROL_TX_ENABLE
    with bench.breaks("mmio-nic.tx-refused"), bench.costs(copies=1, copied=60, writev=1):
        driver.send(FRAME)
    assert driver.error_code == nic.TX_REFUSED
    assert driver["STATUS"] & nic.STATUS_TX_READY


def test_a_send_while_busy_is_refused_and_the_first_one_goes_on(bench):
    seen = []

    class Impatient:
        name = "impatient"

        def transmit(self, frame):
            seen.append((bytes(frame), driver["STATUS"] & nic.STATUS_TX_READY))
            driver["TX_COMMAND"] = nic.TX_COMMAND_SEND

    driver = Driver(MmioNic(bench.context("mmio-nic"), Impatient()))
    driver["CONTROL"] = nic.CONTROL_TX_ENABLE
    with bench.breaks("mmio-nic.tx-busy"):
        driver.send(FRAME)
    assert seen == [(FRAME, 0)]
    assert driver["TX_STATUS"] == nic.TX_STATUS_DONE
    assert (driver["TX_COUNT"], driver["TX_ERRORS"]) == (1, 1)


@pytest.mark.parametrize(
    "register", [r for r in REGISTERS if r.access == "R"], ids=lambda register: register.name
)
def test_read_only_registers_ignore_stores(bench, card, register):
    before = card.read(register.offset, 4)
    with bench.breaks("mmio-nic.read-only"):
        card.write(register.offset, 4, 0xFFFFFFFF)
    after = card.read(register.offset, 4)
    changed = nic.STATUS_ACCESS_ERROR if register.name == "STATUS" else 0
    assert after == before | changed
    assert card.read(nic.STATUS, 4) & nic.STATUS_ACCESS_ERROR


@pytest.mark.parametrize("name", ["INTERRUPT_ACK", "TX_COMMAND"])
def test_write_only_registers_read_as_zero(bench, card, name):
    with bench.breaks("mmio-nic.write-only"):
        assert card.read(OFFSETS[name], 4) == 0
    assert card.read(nic.STATUS, 4) & nic.STATUS_ACCESS_ERROR


@pytest.mark.parametrize("offset", [0x01C, 0x002, 0x07C, 0x098, 0x0BC, 0x1FC, 0x1FE])
def test_where_no_register_is_there_is_nothing(bench, card, offset):
    with bench.breaks("mmio-nic.no-register", "mmio-nic.no-register"):
        card.write(offset, 4, 0xFFFFFFFF)
        assert card.read(offset, 4) == 0
    assert hex(offset) in bench.errors.entries[-1][1].message
    assert card.read(nic.TX_BUFFER, 4) == 0


@pytest.mark.parametrize("width", [1, 2, 8])
def test_registers_are_accessed_whole(bench, card, width):
    with bench.breaks("mmio-nic.access-width", "mmio-nic.access-width"):
        card.write(nic.SCRATCH, width, 1)
        assert card.read(nic.SCRATCH, width) == 0
    assert card.read(nic.SCRATCH, 4) == 0


@pytest.mark.parametrize(("offset", "width"), [(0xFFF, 2), (0xFFD, 4), (0xFF9, 8)])
def test_an_access_past_the_window_touches_nothing(bench, card, offset, width):
    with bench.breaks("mmio-nic.buffer-range", "mmio-nic.buffer-range"):
        card.write(offset, width, (1 << 8 * width) - 1)
        assert card.read(offset, width) == 0
    assert card.read(0xFFF, 1) == 0


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("CONTROL", 0xFFFFFFFA, 10), ("INTERRUPT_MASK", 0xFFFFFFFF, 7), ("INTERRUPT_ACK", 8, None)],
)
def test_reserved_bits_are_ignored_and_reported(bench, card, name, value, kept):
    driver = Driver(card)
    with bench.breaks("mmio-nic.reserved-bits"):
        driver[name] = value
    if kept is not None:
        assert driver[name] == kept
    assert driver["STATUS"] & nic.STATUS_ACCESS_ERROR


def test_a_command_of_reserved_bits_alone_sends_nothing(bench, driver, wire):
    driver["TX_LENGTH"] = 60
    with bench.breaks("mmio-nic.reserved-bits"):
        driver["TX_COMMAND"] = 0xFE
    driver["TX_COMMAND"] = 0
    assert wire.frames == []


# What is seen of it -----------------------------------------------------------------------


def test_a_send_shows_in_the_trace_in_its_order(bench, driver):
    driver.push(FRAME)
    driver["TX_LENGTH"] = 60
    driver["INTERRUPT_MASK"] = nic.IRQ_TX_DONE
    with bench.watched() as events:
        driver["TX_COMMAND"] = nic.TX_COMMAND_SEND
    assert events == [
        ("device", "mmio-nic", "send 60 bytes"),
        ("copy", "qemu->host", 60),
        ("syscall", "writev", "wire", 60),
        ("irq_line", "mmio-nic", 1),
    ]


def test_a_reset_shows_in_the_trace(bench, driver):
    with bench.watched() as events:
        driver["CONTROL"] = nic.CONTROL_RESET
    assert events == [("device", "mmio-nic", "reset")]


def test_a_run_nobody_watches_records_nothing(bench, driver):
    bench.trace.enabled = False
    with bench.watched() as events:
        driver.send(FRAME)
        driver["CONTROL"] = nic.CONTROL_RESET
        driver["ID"] = 1
    assert events == []


def test_the_device_has_the_name_the_machine_gave_it(bench, wire):
    assert MmioNic(bench.context("mmio-nic.1"), wire).name == "mmio-nic.1"


def test_names_for_traces():
    assert register_name(0x44) == "TX_COMMAND"
    assert register_name(0x810) == "TX_BUFFER+0x10"
    assert register_name(0x210) == "RX_BUFFER+0x10"
    assert register_name(0x98) == "0x98"


def test_the_register_map_is_consistent():
    ends = sorted((r.offset, r.offset + r.width) for r in REGISTERS)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    assert ends[-1][1] == nic.WINDOW_SIZE
    for register in REGISTERS:
        assert register.access in ("R", "W", "RW")
        taken = 0
        for bits in register.bits:
            assert not taken & bits.mask, f"{register.name}.{bits.name} overlaps"
            taken |= bits.mask
        assert taken < 1 << 32
        has_writer = register.offset in MmioNic._WRITERS or register.name == "TX_BUFFER"
        assert has_writer == ("W" in register.access)


ACCESS = st.tuples(
    st.booleans(),
    st.one_of(st.sampled_from(sorted(OFFSETS.values())), st.integers(0, 0xFFF)),
    st.sampled_from([1, 2, 4, 8]),
    st.one_of(st.integers(0, 1600), st.integers(0, 2**64 - 1)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ACCESS, max_size=60))
def test_no_script_of_accesses_hurts_the_card(script):
    ledger = Ledger()
    wire = Wire()
    errors = GuestErrorLog(ledger.trace)
    context = DeviceContext("mmio-nic", memory=GuestMemory(), ledger=ledger, errors=errors)
    card = MmioNic(context, wire)
    for is_write, offset, size, value in script:
        if is_write:
            card.write(offset, size, value & (1 << 8 * size) - 1)
        else:
            assert 0 <= card.read(offset, size) < 1 << 8 * size
        pending = card.read(nic.INTERRUPT_STATUS, 4) & card.read(nic.INTERRUPT_MASK, 4)
        assert context.irq.level == bool(pending)
    assert all(14 <= len(frame) <= 1514 for frame in wire.frames)
    assert ledger.syscalls.get("writev", 0) == wire.carried
    assert ledger.bytes_copied == wire.bytes_carried
