"""Devices: registers by name with their bits, without reading them as the guest does."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import session, session_of

from toyvisor.debug.moment import StopReason, Unit
from toyvisor.debug.session import Session
from toyvisor.debug.views.devices import (
    DeviceView,
    changed_in_device,
    decode_bits,
    device_view,
    devices,
    register_at,
)


def view_of(s: Session, name: str) -> DeviceView:
    found = device_view(s.machine, name)
    assert found is not None
    return found


def text(view: DeviceView, register: str) -> str:
    return next(row.text for row in view.registers if row.key == register)


def fact(view: DeviceView, name: str) -> str:
    return next(fact.text for fact in view.facts if fact.name == name)


def test_where_devices_are() -> None:
    with session("ping_responder") as s:
        found = [(d.name, d.type, d.where, d.irq) for d in devices(s.machine)]
    assert found == [
        ("virtio-net", "virtio-net", "0xd0000000, IRQ 5", 5),
        ("debugcon", "debugcon", "port 0xe9", None),
    ]


def test_a_virtio_device_by_name() -> None:
    with session("virtio_net_tx") as s:
        s.run_to("next_frame")
        view = view_of(s, "virtio-net")
    assert text(view, "MagicValue") == "0x74726976 'virt'"
    assert text(view, "DeviceID") == "1 network card"
    assert text(view, "Status") == "0x0000000f ACKNOWLEDGE|DRIVER|DRIVER_OK|FEATURES_OK"
    assert text(view, "DriverFeatures") == "0x00000001 VERSION_1"  # DriverFeaturesSel is 1
    assert text(view, "QueueSel") == "1 transmitq"
    assert text(view, "QueueNum") == "8"
    assert text(view, "QueueDescLow") == "0x00020000"
    assert text(view, "QueueNotify") == "write-only"
    assert text(view, "Config.mac") == "52:54:00:12:34:56"
    assert text(view, "Config.status") == "0x0001 LINK_UP"
    assert fact(view, "queue 1, transmitq").startswith("ready, 8 entries, served by QEMU; took 0")
    assert fact(view, "offers").startswith("MAC, MRG_RXBUF, STATUS, INDIRECT_DESC, EVENT_IDX")


def test_bits_of_a_register_have_meanings() -> None:
    with session("virtio_net_tx") as s:
        s.run_to("next_frame")
        row = next(r for r in view_of(s, "virtio-net").registers if r.name == "Status")
    bits = {bits.name: (bits.value, bits.meaning) for bits in row.bits}
    assert bits["DRIVER_OK"] == (1, "the driver is set up; the device is live")
    assert bits["FAILED"][0] == 0


def test_the_card_while_it_is_filled(tmp_path: Path) -> None:
    source = """
        .include "machine.inc"
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + 0x800], 0x44332211
        mov     dword ptr [rdi + 0x8], 6
        mov     dword ptr [rdi + 0x40], 60
        mov     dword ptr [rdi + 0x44], 1
        hlt
        """
    with session_of(source, tmp_path, block='mode = "long"\ndevices = ["mmio-nic"]') as s:
        s.go_to_end()
        view = view_of(s, "mmio-nic")
    assert text(view, "CONTROL") == "0x00000006 TX_ENABLE|RX_ENABLE"
    assert text(view, "TX_STATUS") == "0x00000001 DONE"
    assert text(view, "TX_BUFFER").startswith("11 22 33 44 00")
    assert text(view, "RX_BUFFER") == "all zero"
    assert fact(view, "packets") == "1 sent, 0 received, 0 refused or dropped"
    assert view.level is not None  # it has a line, although nothing is wired to it
    assert view.level == 0


def test_the_serial_port_shows_what_waits_and_takes_nothing() -> None:
    with session("keyboardless_echo") as s:
        while s.step(Unit.EVENT).reason is StopReason.STEP:
            view = view_of(s, "serial")
            if fact(view, "received") != "nothing":
                break
        assert text(view, "LSR") == "0x61 DR|THRE|TEMT"
        assert text(view, "IER") == "0x00"
        assert view == view_of(s, "serial")  # to look does not take the byte
        assert text(view, "DLL") == "0x0c"
        assert fact(view, "baud") == "9600"
        assert view.where == "port 0x3f8, IRQ 4"


def test_what_an_access_changes() -> None:
    with session("virtio_net_tx") as s:
        s.run_to("wait_reset")
        before = view_of(s, "virtio-net")
        s.run_to("next_frame")
        after = view_of(s, "virtio-net")
    changed = changed_in_device(before, after)
    assert {"Status", "QueueSel", "DriverFeatures", "driver is"} <= changed
    assert "MagicValue" not in changed
    assert changed_in_device(None, after) == frozenset()


def test_vhosts_interrupt_status_is_looked_up_without_a_trace() -> None:
    """QEMU looks into the used ring when the register is read; we do, too, and leave no count."""
    with session("virtio_net_rx", options={"virtio-net": {"vhost": True}}) as s:
        while s.step(Unit.EVENT).reason is StopReason.STEP:
            if s.events[s.moment.events - 1].kind.name == "vhost_signal":
                break
        reads = s.machine.ledger.ring_reads
        assert text(view_of(s, "virtio-net"), "InterruptStatus") == "0x00000001 USED_BUFFER"
        assert s.machine.ledger.ring_reads == reads
        assert fact(view_of(s, "virtio-net"), "kicks go to").endswith("vhost in the kernel")


@pytest.mark.parametrize(
    ("port", "value", "register", "bits"),
    [
        (0x20, 0x11, "ICW1", "IC4"), (0x20, 0x20, "OCW2", "EOI"), (0x20, 0x0B, "OCW3", "RIS|RR"),
        (0x21, 0xFE, "IMR", ""), (0x43, 0x34, "MODE", "RW=3|M=2"),
        (0x43, 0xC2, "READ_BACK", "CNT=1"), (0x40, 0x9C, "CH0", ""), (0x61, 1, "SPEAKER", "GATE2"),
        (0x4D0, 8, "ELCR1", ""), (0xE9, 65, "the port", ""),
    ],
)  # fmt: skip
def test_which_register_an_out_goes_to(port: int, value: int, register: str, bits: str) -> None:
    with session("timer_tick") as s:
        place = register_at(s.machine, port, is_port=True, is_write=True, value=value)
    assert place is not None
    assert (place.register, decode_bits(place, value)) == (register, bits)
    assert place.owner == ("QEMU" if port == 0xE9 else "KVM")


def test_a_controller_that_is_being_initialized_takes_icws_at_its_other_port() -> None:
    with session("timer_tick") as s:
        names = []
        while s.step(Unit.EVENT).reason is StopReason.STEP and len(names) < 9:
            event = s.events[s.moment.events - 1]
            if event.kind.name == "kvm_pio" and event.fields["rw"] == "write":
                place = register_at(
                    s.machine, event.fields["port"], is_port=True, is_write=True,
                    value=event.fields["val"],
                )  # fmt: skip
                assert place is not None
                names.append(place.register)
    assert names[:8] == ["ICW1", "ICW1", "ICW2", "ICW2", "ICW3", "ICW3", "ICW4", "ICW4"]


def test_the_serial_ports_first_registers_depend_on_direction_and_dlab(tmp_path: Path) -> None:
    source = "mov dx, 0x3fb\nmov al, 0x80\nout dx, al\nhlt"
    with session_of(source, tmp_path, block='mode = "long"\ndevices = ["serial"]') as s:

        def name(*, is_write: bool) -> str:
            place = register_at(s.machine, 0x3F8, is_port=True, is_write=is_write)
            assert place is not None
            return place.register

        assert (name(is_write=True), name(is_write=False)) == ("THR", "RBR")
        s.go_to_end()
        assert (name(is_write=True), name(is_write=False)) == ("DLL", "DLL")


def test_windows_and_what_is_in_none() -> None:
    with session("virtio_net_tx") as s:
        notify = register_at(s.machine, 0xD000_0050)
        assert notify is not None
        assert (notify.device, notify.register, notify.access) == ("virtio-net", "QueueNotify", "W")
        nothing = register_at(s.machine, 0xD000_0018)
        assert nothing is not None
        assert nothing.register == "no register (0x018)"
        assert register_at(s.machine, 0xD000_1000) is None
        assert register_at(s.machine, 0x99, is_port=True) is None
