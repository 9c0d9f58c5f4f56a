"""`monitor ...`: what it prints is what the session says."""

from __future__ import annotations

import re

import pytest
from gdb_kit import client

from toyvisor.debug.gdb.monitor import COMMANDS

STALE = "gdb shows this after `maintenance flush register-cache`"


def test_help_lists_every_command():
    with client("add") as gdb:
        lines = gdb.monitor("help").splitlines()
        assert [line.split()[1] for line in lines] == list(COMMANDS)
        assert gdb.monitor("") == gdb.monitor("help")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("program", ["add", "virtio_net_tx", "timer_tick", "mmio_nic_tx"])
def test_every_command_has_something_to_say_anywhere(name, program):
    with client(program) as gdb:
        for place in ("goto start", "goto instruction 60", "event-step 2", "goto end"):
            gdb.monitor(place)
            text = gdb.monitor(name)
            assert text.endswith("\n")
            assert not re.search(r" $", text, re.MULTILINE)
            assert "None" not in text


def test_where_says_the_moment_and_the_line():
    with client("hello_serial") as gdb:
        first, second = gdb.monitor("where").splitlines()
        assert first == "instruction 0, event 2"
        assert second.endswith(
            "hello_serial.s:18: lea     rsi, [rip + text]       ; rsi: the next character"
        )
        assert gdb.monitor("event-step").splitlines()[1:] == [
            "instruction 6, event 3, inside an exit",
            second.partition("hello")[0] + "hello_serial.s:29: in      al, dx                  "
            "; EXIT: QEMU answers; al is set when we come back",
            "2        6 GUEST kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x100012 address 0x3fd",
            STALE,
        ]  # fmt: skip


def test_what_was_counted_up_to_here():
    with client("add") as gdb:
        assert gdb.monitor("exits") == "0 vmexits: 0 to QEMU, 0 in KVM\n"
        gdb.monitor("goto end")
        assert gdb.monitor("exits") == "3 vmexits: 3 to QEMU, 0 in KVM\n  2  io\n  1  hlt\n"
        assert gdb.monitor("copies").splitlines() == [
            "6 copies, 6 bytes",
            "  2  2 bytes  guest->kvm",
            "  2  2 bytes  kvm->qemu",
            "  2  2 bytes  qemu->host",
        ]
        assert gdb.monitor("ledger").splitlines()[-4:] == [
            "system calls",
            "  2  write",
            "0 interrupts injected, 0 notifications that the driver did not want",
            "0 context switches",
        ]
        assert gdb.monitor("console") == "4\n"


def test_the_last_events():
    with client("one_store") as gdb:
        gdb.monitor("goto end")
        lines = gdb.monitor("events").splitlines()
        assert len(lines) == 10
        assert lines[-1].endswith("KVM   kvm_userspace_exit: reason KVM_EXIT_HLT (5)")
        assert gdb.monitor("events 1") == f"{lines[-1]}\n"
        gdb.monitor("goto start")
        assert len(gdb.monitor("events 99").splitlines()) == 2


def test_steps_into_a_vmexit_and_back():
    with client("one_store") as gdb:
        assert gdb.monitor("exit").startswith("stepped: exit\ninstruction 2, event 3, inside")
        assert "kvm_mmio: mmio write len 4" in gdb.monitor("event-step")
        assert "copy: guest->kvm 4 bytes" in gdb.monitor("event-step")
        assert "kvm_mmio: mmio write len 4" in gdb.monitor("event-back")
        assert "reason HLT" in gdb.monitor("exit")
        assert "instruction 2, event 3, inside" in gdb.monitor("back-exit")
        gdb.stop("s")
        assert gdb.session.moment.between


def test_going_anywhere():
    with client("hello_serial") as gdb:
        assert gdb.monitor("goto instruction 100").startswith("instruction 100\ninstruction 100, ")
        assert gdb.monitor("goto event 0x10").startswith(
            "event 16\ninstruction 11, event 17, inside"
        )
        assert gdb.monitor("goto end").startswith("the run is over: halted")
        assert gdb.monitor("goto start").startswith("this is where the recording begins\n")


def test_leaving_a_branch():
    with client("hello_serial") as gdb:
        gdb.stop("s")
        gdb.ask("P0=0700000000000000")
        assert ", 1 changes deep" in gdb.monitor("where")
        assert gdb.monitor("leave").startswith("the change is undone\ninstruction 1, event 2\n")
        assert gdb.session.registers().rax == 0
        assert gdb.monitor("leave") == "error: this is the original run: nothing was changed\n"


def test_a_virtqueue_and_its_owners():
    with client("virtio_net_tx") as gdb:
        assert "transmitq: 0 entries, not ready" in gdb.monitor("rings")
        gdb.monitor("goto instruction 300")
        text = gdb.monitor("rings")
        assert "virtio-net transmitq: 8 entries, ready, served by QEMU\n" in text
        assert "  avail.idx 11, used.idx 11; the device has taken 11, has 0 in flight\n" in text
        assert re.search(r"desc\[0\]  0x[0-9a-f]+  12 bytes +NEXT  next 1  driver: used", text)
        assert re.match(r"   1    342 bytes  ffff ffff ffff 5254", gdb.monitor("packets"))


def test_a_long_table_of_descriptors_is_cut():
    with client("virtio_net_rx") as gdb:
        gdb.monitor("goto end")
        lines = [line for line in gdb.monitor("rings").splitlines() if line.startswith("  desc[")]
        assert len(lines) == 32
        assert "\n  ... and 32 more descriptors\n" in gdb.monitor("rings")


@pytest.mark.parametrize(("command", "complaint"), [
    ("bogus", "error: there is no monitor command 'bogus' (hint: monitor help)"),
    ("ring", "error: there is no monitor command 'ring' (hint: did you mean rings?)"),
    ("events x", "error: 'x' is not a whole number"),
    ("exit -1", "error: '-1' is not a whole number"),
    ("exits 3", "error: '3': this command takes nothing"),
    ("goto", "error: goto takes: instruction N, event N, start, end"),
    ("goto instruction", "error: goto takes: instruction N, event N, start, end"),
])  # fmt: skip
def test_mistakes(command, complaint):
    with client("add") as gdb:
        assert gdb.monitor(command) == f"{complaint}\n"
        assert gdb.session.at_start
