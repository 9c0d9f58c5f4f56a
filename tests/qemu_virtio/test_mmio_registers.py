"""The register file, register by register (VIRTIO 1.2, 4.2.2)."""

from __future__ import annotations

import pytest
from virtio_kit import (
    ACKNOWLEDGE,
    DRIVER,
    EVENT_IDX,
    FEATURES_OK,
    LIVE,
    VERSION_1,
    Machine,
    frame,
)

from toyvisor.qemu.virtio.net import DEFAULT_MAC
from toyvisor.qemu.virtio.net_format import FEATURES, MAC
from toyvisor.qemu.virtio.registers import CONFIG, REGISTERS, Reg, register_name

HOLES = [0x018, 0x01C, 0x028, 0x02C, 0x03C, 0x040, 0x048, 0x04C, 0x054, 0x058, 0x05C, 0x068]
HOLES += [0x06C, 0x074, 0x07C, 0x088, 0x08C, 0x098, 0x09C, 0x0A8, 0x0C4, 0x0F8]


def test_the_table_names_all_registers_once():
    assert len(REGISTERS) == len(Reg) == 29
    assert {register.access for register in REGISTERS.values()} == {"R", "W", "RW"}
    assert register_name(0x050) == "QueueNotify"
    assert register_name(0x053) == "QueueNotify"
    assert register_name(0x106) == "Config+0x6"
    assert register_name(0x018) == "no register (0x018)"
    assert len({register.name for register in REGISTERS.values()}) == 29


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (Reg.MAGIC_VALUE, 0x74726976),
        (Reg.VERSION, 2),
        (Reg.DEVICE_ID, 1),
        (Reg.VENDOR_ID, 0x554D4551),
        (Reg.DEVICE_FEATURES, FEATURES & 0xFFFFFFFF),
        (Reg.QUEUE_NUM_MAX, 256),
        (Reg.QUEUE_READY, 0),
        (Reg.INTERRUPT_STATUS, 0),
        (Reg.STATUS, 0),
        (Reg.SHM_LEN_LOW, 0xFFFFFFFF),
        (Reg.SHM_LEN_HIGH, 0xFFFFFFFF),
        (Reg.SHM_BASE_LOW, 0xFFFFFFFF),
        (Reg.SHM_BASE_HIGH, 0xFFFFFFFF),
        (Reg.QUEUE_RESET, 0),
        (Reg.CONFIG_GENERATION, 0),
    ],
)
def test_a_fresh_device_reads(register, value):
    machine = Machine()
    assert machine.read(register) == value
    assert machine.rules == []


def test_every_readable_register_is_in_the_list_above():
    readable = [register for register in REGISTERS.values() if "R" in register.access]
    assert len(readable) == 15


@pytest.mark.parametrize("offset", [r for r in REGISTERS if REGISTERS[r].access == "R"], ids=hex)
def test_a_read_only_register_ignores_writes(offset):
    machine = Machine()
    before = machine.read(offset)
    machine.write(offset, 0xFFFFFFFF)
    assert machine.read(offset) == before
    assert machine.rules == ["virtio.mmio.read-only"]


@pytest.mark.parametrize("offset", [r for r in REGISTERS if REGISTERS[r].access == "W"], ids=hex)
def test_a_write_only_register_reads_0(offset):
    machine = Machine()
    machine.write(Reg.QUEUE_SEL, 1)
    assert machine.read(offset) == 0
    assert machine.rules == ["virtio.mmio.write-only"]


@pytest.mark.parametrize("offset", HOLES, ids=hex)
def test_a_hole_reads_0_and_ignores_writes(offset):
    machine = Machine()
    assert machine.read(offset) == 0
    machine.write(offset, 0xFFFFFFFF)
    assert machine.rules == ["virtio.mmio.no-register"] * 2


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("offset", list(REGISTERS), ids=hex)
def test_control_registers_are_32_bits_wide(offset, size):
    machine = Machine().bring_up()
    before = machine.net.status, machine.mmio.queue_sel, machine.net.queues[1].ready
    assert machine.mmio.read(offset, size) == 0
    machine.mmio.write(offset, size, 0)
    assert (machine.net.status, machine.mmio.queue_sel, machine.net.queues[1].ready) == before
    assert machine.rules == ["virtio.mmio.access-width"] * 2


@pytest.mark.parametrize("offset", [0x071, 0x072, 0x073, 0x0FE], ids=hex)
def test_control_registers_are_aligned(offset):
    machine = Machine().bring_up()
    assert machine.mmio.read(offset, 4) == 0
    machine.mmio.write(offset, 4, 0)
    assert machine.net.status == LIVE
    assert machine.rules == ["virtio.mmio.access-width"] * 2


# Features ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "bits"),
    [
        (0, FEATURES & 0xFFFFFFFF),
        (1, 1),
        (2, 0),
        (3, 0),
        (4, 0),
        (2**31, 0),
        (0xFFFFFFFF, 0),
    ],
)
def test_device_features_come_in_pages(page, bits):
    machine = Machine()
    machine.write(Reg.DEVICE_FEATURES_SEL, page)
    assert machine.read(Reg.DEVICE_FEATURES) == bits
    assert machine.rules == []


def test_driver_features_are_kept_page_by_page():
    machine = Machine()
    machine.write(Reg.DRIVER_FEATURES_SEL, 1)
    machine.write(Reg.DRIVER_FEATURES, 1)
    machine.write(Reg.DRIVER_FEATURES_SEL, 0)
    machine.write(Reg.DRIVER_FEATURES, MAC)
    machine.write(Reg.DRIVER_FEATURES, EVENT_IDX)
    assert machine.net.accepted == VERSION_1 | EVENT_IDX
    assert machine.net.features == 0  # nothing is negotiated yet


# Queues --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "most"), [(0, 256), (1, 256), (2, 0), (0xFFFF, 0), (2**31, 0)])
def test_queue_num_max_says_which_queues_there_are(index, most):
    machine = Machine()
    machine.write(Reg.QUEUE_SEL, index)
    assert machine.read(Reg.QUEUE_NUM_MAX) == most
    assert machine.rules == []


def test_each_queue_has_its_own_settings():
    machine = Machine()
    machine.negotiate()
    first = machine.lay_out(0, 4)
    second = machine.lay_out(1, 16)
    assert machine.net.queues[0].config == first.config
    assert machine.net.queues[1].config == second.config
    machine.write(Reg.QUEUE_SEL, 0)
    machine.write(Reg.QUEUE_READY, 0)
    machine.write(Reg.QUEUE_SEL, 1)
    assert machine.read(Reg.QUEUE_READY) == 1


def test_addresses_have_64_bits():
    machine = Machine()
    machine.negotiate()
    for offset in (Reg.QUEUE_DESC_LOW, Reg.QUEUE_DRIVER_LOW, Reg.QUEUE_DEVICE_LOW):
        machine.write(offset + 4, 0x01234567)
        machine.write(offset, 0x89ABCDEF)
    config = machine.net.queues[0].config
    assert (config.desc, config.driver, config.device) == (0x0123456789ABCDEF,) * 3


QUEUE_SETTINGS = [
    Reg.QUEUE_NUM,
    Reg.QUEUE_DESC_LOW,
    Reg.QUEUE_DESC_HIGH,
    Reg.QUEUE_DRIVER_LOW,
    Reg.QUEUE_DRIVER_HIGH,
    Reg.QUEUE_DEVICE_LOW,
    Reg.QUEUE_DEVICE_HIGH,
]


@pytest.mark.parametrize("register", QUEUE_SETTINGS)
def test_a_ready_queue_keeps_its_settings(register):
    machine = Machine().bring_up()
    before = machine.queue.config
    machine.write(register, 0x8000)
    assert machine.net.queues[1].config == before
    assert machine.rules == ["virtio.mmio.queue-busy"]
    machine.send(frame())
    assert machine.tap.frames == [frame()]


@pytest.mark.parametrize("register", [*QUEUE_SETTINGS, Reg.QUEUE_READY])
@pytest.mark.parametrize("index", [2, 0xFFFF, 2**31])
def test_settings_of_a_queue_that_is_not_there_are_lost(register, index):
    machine = Machine()
    machine.negotiate()
    machine.write(Reg.QUEUE_SEL, index)
    machine.write(register, 1)
    assert machine.rules == ["virtio.mmio.no-queue"]


def test_a_queue_that_is_not_there_is_not_ready():
    machine = Machine()
    machine.write(Reg.QUEUE_SEL, 2)
    assert machine.read(Reg.QUEUE_READY) == 0
    assert machine.rules == ["virtio.mmio.no-queue"]


@pytest.mark.parametrize("value", [2, 0x80000000, 0xFFFFFFFF])
def test_queue_ready_takes_1_and_0_only(value):
    machine = Machine()
    machine.negotiate()
    machine.write(Reg.QUEUE_READY, value)
    assert machine.read(Reg.QUEUE_READY) == 0
    assert machine.rules == ["virtio.mmio.ready-value"]


def test_queue_ready_waits_for_features_ok():
    machine = Machine()
    machine.write(Reg.STATUS, ACKNOWLEDGE | DRIVER)
    assert machine.set_up_queue(1, 8, 0x1000, 0x2000, 0x3000) == 0
    assert machine.rules == ["virtio.mmio.ready-early"]


def test_queue_ready_twice_is_no_restart():
    machine = Machine().bring_up()
    machine.send(frame(1))
    machine.write(Reg.QUEUE_READY, 1)
    machine.send(frame(2))
    assert machine.tap.frames == [frame(1), frame(2)]
    assert machine.rules == []


def test_queue_ready_0_is_fine_when_it_is_0():
    """Linux writes it after the reset, when it removes a device."""
    machine = Machine()
    machine.write(Reg.QUEUE_READY, 0)
    assert machine.rules == []


def test_a_queue_taken_down_and_set_up_again_starts_at_0():
    machine = Machine().bring_up()
    machine.send(frame(1))
    machine.write(Reg.QUEUE_READY, 0)
    assert machine.read(Reg.QUEUE_READY) == 0
    machine.queue = machine.lay_out(1, 16)
    machine.send(frame(2))
    assert machine.tap.frames == [frame(1), frame(2)]
    assert machine.queue.reap() == [(0, 0)]
    assert machine.rules == []


@pytest.mark.parametrize("value", [0, 1])
def test_queue_reset_needs_a_feature_nobody_offers(value):
    machine = Machine().bring_up()
    machine.write(Reg.QUEUE_RESET, value)
    assert machine.read(Reg.QUEUE_RESET) == 0
    assert machine.read(Reg.QUEUE_READY) == 1
    assert machine.rules == ["virtio.mmio.ring-reset"]


@pytest.mark.parametrize("region", [0, 1, 255])
def test_there_are_no_shared_memory_regions(region):
    machine = Machine()
    machine.write(Reg.SHM_SEL, region)
    assert machine.read(Reg.SHM_LEN_HIGH) == machine.read(Reg.SHM_BASE_LOW) == 0xFFFFFFFF
    assert machine.rules == []


# Interrupts ------------------------------------------------------------------------------------


def test_the_line_is_high_until_every_event_is_acknowledged():
    machine = Machine().bring_up()
    machine.send(frame())
    machine.net.set_link(False)
    assert (machine.interrupts, machine.line) == (3, 1)
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert (machine.interrupts, machine.line) == (2, 1)
    machine.write(Reg.INTERRUPT_ACK, 2)
    assert (machine.interrupts, machine.line) == (0, 0)
    assert machine.rules == []


@pytest.mark.parametrize("value", [1, 2, 3])
def test_acknowledging_what_is_not_there_does_nothing(value):
    machine = Machine().bring_up()
    machine.write(Reg.INTERRUPT_ACK, value)
    assert (machine.interrupts, machine.line, machine.rules) == (0, 0, [])


@pytest.mark.parametrize("value", [4, 0x80000000, 0xFFFFFFFC])
def test_undefined_bits_of_interrupt_ack_are_ignored(value):
    machine = Machine().bring_up()
    machine.send(frame())
    machine.write(Reg.INTERRUPT_ACK, value)
    assert machine.interrupts == 1
    assert machine.rules == ["virtio.mmio.ack-bits"]


def test_reading_interrupt_status_acknowledges_nothing():
    """SeaBIOS only reads it."""
    machine = Machine().bring_up()
    machine.send(frame())
    assert [machine.interrupts for _ in range(3)] == [1, 1, 1]
    assert machine.line == 1


# Configuration space -----------------------------------------------------------------------------


def config(machine, offset, size):
    return machine.mmio.read(CONFIG + offset, size)


def test_configuration_is_read_byte_by_byte_or_in_fields():
    machine = Machine()
    assert bytes(config(machine, place, 1) for place in range(6)) == DEFAULT_MAC
    assert config(machine, 6, 2) == 1
    assert config(machine, 0, 4) == int.from_bytes(DEFAULT_MAC[:4], "little")
    assert config(machine, 4, 4) == int.from_bytes(DEFAULT_MAC[4:], "little") | 1 << 16
    assert machine.rules == []


@pytest.mark.parametrize(("offset", "size"), [(1, 2), (3, 4), (0, 8)])
def test_odd_accesses_to_configuration_are_served_and_noted(offset, size):
    machine = Machine()
    whole = DEFAULT_MAC + b"\x01\x00"
    assert config(machine, offset, size) == int.from_bytes(whole[offset : offset + size], "little")
    assert machine.rules == ["virtio.config.width"]


@pytest.mark.parametrize(("offset", "size"), [(8, 1), (8, 4), (0xEFC, 4), (1 << 32, 4)])
def test_beyond_the_configuration_there_is_nothing(offset, size):
    machine = Machine()
    machine.negotiate()
    assert config(machine, offset, size) == 0
    machine.mmio.write(CONFIG + offset, size, 0xFF)
    assert machine.rules == ["virtio.config.end"] * 2


def test_a_read_over_the_end_of_configuration_gives_the_part_that_is_there():
    machine = Machine()
    assert config(machine, 7, 4) == 0
    assert config(machine, 6, 4) == 1
    assert machine.rules == ["virtio.config.end"] * 2


def test_the_network_cards_configuration_cannot_be_written():
    machine = Machine()
    machine.negotiate()
    machine.mmio.write(CONFIG, 1, 0)
    assert config(machine, 0, 1) == DEFAULT_MAC[0]
    assert machine.rules == ["virtio.config.read-only"]


def test_configuration_is_not_written_before_features_ok():
    machine = Machine()
    machine.mmio.write(CONFIG, 1, 0)
    assert machine.rules == ["virtio.config.early"]


def test_the_generation_changes_with_the_configuration_only():
    machine = Machine().bring_up()
    before = machine.read(Reg.CONFIG_GENERATION)
    machine.send(frame())
    assert machine.read(Reg.CONFIG_GENERATION) == before
    machine.net.set_link(False)
    assert machine.read(Reg.CONFIG_GENERATION) != before
    assert config(machine, 6, 2) == 0


def test_the_upper_half_of_a_register_is_not_there():
    """A store comes with 32 bits, whatever the caller hands over."""
    machine = Machine()
    machine.mmio.write(Reg.STATUS, 4, 1 << 40 | ACKNOWLEDGE)
    assert machine.status == ACKNOWLEDGE
    assert machine.status & FEATURES_OK == 0
