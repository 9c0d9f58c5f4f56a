"""A real tap in a network of its own: what goes in on one side comes out on the other."""

from __future__ import annotations

import os
import select
from errno import EAGAIN, EINVAL, EIO

import pytest
from own_net import ETHERTYPE, OwnNet, why_not

from toyvisor.errors import ToyvisorError
from toyvisor.host.net import open_net
from toyvisor.host.poll import Poller
from toyvisor.host.scheduler import Scheduler
from toyvisor.host.syscalls import read, writev
from toyvisor.host.timers import Timers
from toyvisor.host.tun import TunTap
from toyvisor.host.wire import Wire
from toyvisor.trace.ledger import Ledger


def frame(size: int = 60, fill: int = 0) -> bytes:
    header = b"\xff" * 6 + b"\x52\x54\x00\x12\x34\x56" + ETHERTYPE.to_bytes(2, "big")
    return header + bytes([fill]) * (size - len(header))


@pytest.fixture(scope="module")
def permitted():
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def net(permitted):
    own = OwnNet()
    own.enter()
    own.ip("tuntap add tap0 mode tap")
    own.ip("link set tap0 up")
    yield own
    own.close()


@pytest.fixture
def tap(net):
    tap = net.run(TunTap, "tap0")
    yield tap
    tap.close()


@pytest.fixture
def host(net, tap):
    side = net.host_side("tap0")
    yield side
    side.close()


def arrived(tap):
    """Wait until a frame is there: the kernel may hand it on a little later."""
    assert select.select([tap], [], [], 10)[0]


def error_of(net, name):
    """What opening the tap ends with."""
    with pytest.raises(ToyvisorError) as caught:
        net.run(TunTap, name)
    return str(caught.value)


def test_frames_go_both_ways_whole_and_unchanged(tap, host):
    ledger, buffer = Ledger(), memoryview(bytearray(2000))
    assert writev(ledger, tap, (frame()[:14], frame()[14:])) == 60
    assert host.receive() == frame()
    host.send(frame(1514, 7))
    arrived(tap)
    assert read(ledger, tap, buffer) == 1514
    assert buffer[:1514] == frame(1514, 7)
    assert read(ledger, tap, buffer) == -EAGAIN
    assert ledger.syscalls == {"writev": 1, "read": 2}
    assert (ledger.qemu_to_host.count, ledger.host_to_qemu.count) == (2, 1)


def test_it_is_readable_while_a_frame_waits(tap, host):
    assert not tap.readable
    assert tap.recv() is None
    host.send(frame())
    arrived(tap)
    assert tap.readable
    assert tap.recv() == frame()
    assert not tap.readable


def test_what_is_no_frame_the_kernel_refuses(tap):
    assert writev(Ledger(), tap, (bytes(13),)) == -EINVAL


def test_the_kernel_counts_as_our_own_tap_does(net, tap, host):
    host.send(frame())
    arrived(tap)
    tap.recv()
    tap.transmit(bytearray(frame()))
    host.receive()
    counted = net.ip("-s -j link show tap0")
    assert '"tx":{"bytes":60,"packets":1' in counted
    assert '"rx":{"bytes":60,"packets":1' in counted


def test_a_poller_wakes_who_waits(tap, host):
    heard = []
    tap.add_waiter(lambda: heard.append(tap.recv()))
    poller = Poller(tap)
    assert poller.wait_for_input(0) is False
    host.send(frame())
    assert poller.wait_for_input(10) is True
    assert heard == [frame()]


def test_the_main_loop_takes_frames_from_a_real_tap(tap, host):
    from toyvisor.qemu.main_loop import MainLoop
    from toyvisor.qemu.net_client import NetClient

    class Card:
        def __init__(self) -> None:
            self.frames: list[bytes] = []

        def can_receive(self) -> bool:
            return True

        def receive(self, frame: memoryview) -> bool:
            self.frames.append(bytes(frame))
            return True

    ledger = Ledger()
    scheduler = Scheduler(ledger)
    client = NetClient(ledger, tap, MainLoop(ledger, scheduler))
    client.peer = card = Card()
    poller = Poller(tap)
    for number in range(3):
        host.send(frame(60 + number))
        assert poller.wait_for_input(10) is True
        assert scheduler.run_others() is False
    assert card.frames == [frame(60), frame(61), frame(62)]
    assert ledger.syscalls == {"ppoll": 3, "read": 6}


def test_a_network_of_the_command_line_records_both_ways(net):
    with net.run(open_net, "tap:tap0") as network:
        host = net.host_side("tap0")
        network.file.transmit(bytearray(frame(60, 1)))
        host.send(frame(60, 2))
        arrived(network.file)
        assert network.file.recv() == frame(60, 2)
        assert (network.sent, network.received) == ([frame(60, 1)], [frame(60, 2)])
        assert network.real_files == (network.file,)
        assert network.start_sender(Timers()) is None
        assert network.start_requester(Timers(), lambda: 0) is None
        host.close()
    assert "tap0" in net.ip("link show"), "it was there before, and stays"
    with net.run(open_net, "tap:tap0"):
        pass  # and is free again


def test_a_device_that_had_to_be_made_is_up_and_goes_again(net):
    tap = net.run(TunTap, "tap9", Wire())
    assert tap.is_new
    assert "UP" in net.ip("link show tap9").split(">")[0]
    tap.transmit(bytearray(frame()))
    assert tap.far_end.frames == [frame()]
    tap.close()
    tap.close()
    assert "tap9" not in net.ip("link show")


def test_a_tap_that_goes_down_refuses_frames_and_says_so(net, tap):
    net.ip("link set tap0 down")
    wire = Wire()
    tap.far_end = wire
    assert writev(Ledger(), tap, (frame(),)) == -EIO
    assert wire.carried == 0


def test_a_tap_that_is_down_is_an_error_with_the_command(net):
    net.ip("link set tap0 down")
    assert "tap0 is down" in error_of(net, "tap0")
    assert "ip link set tap0 up" in error_of(net, "tap0")


def test_a_tap_in_use_is_an_error(net, tap):
    assert "in use by another program" in error_of(net, "tap0")


@pytest.mark.parametrize("name", ["lo", "tun0"])
def test_a_device_that_is_no_tap_is_an_error(net, name):
    net.ip("tuntap add tun0 mode tun")
    text = error_of(net, name)
    assert f"{name} is a network device, but no tap" in text
    assert f"ip -d link show {name}" in text


def test_without_the_right_to_make_one_the_command_is_told(net):
    net.drop_net_admin()
    text = error_of(net, "tap7")
    assert "no network device tap7" in text
    assert "sudo ip tuntap add tap7 mode tap user $USER" in text


def test_without_rights_ones_own_device_is_enough(net):
    net.ip(f"tuntap add mine mode tap user {os.getuid()}")
    net.ip("link set mine up")
    net.ip("tuntap add theirs mode tap user 12345")
    net.drop_net_admin()
    net.run(TunTap, "mine").close()
    assert "theirs belongs to another user" in error_of(net, "theirs")


def test_an_error_leaves_no_descriptor_open(net):
    before = len(os.listdir("/proc/self/fd"))
    for name in ("lo", "lo", "lo"):
        error_of(net, name)
    assert len(os.listdir("/proc/self/fd")) == before


NOT_NAMES = ["a name", "a/b", "tap%d", "a:0", "sixteen-letters-", ".", "..", "\xe4" * 8, "\0", ""]


@pytest.mark.parametrize("name", [*NOT_NAMES, "\ud800"])
def test_what_can_be_no_name_of_a_device_is_an_error(name):
    with pytest.raises(ToyvisorError):
        open_net(f"tap:{name}")


def test_without_the_tun_device_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr("toyvisor.host.tun.DEVICE", "/nowhere/tun")
    with pytest.raises(ToyvisorError, match=r"/nowhere/tun: No such file.*modprobe tun"):
        TunTap("tap0")


def test_a_run_without_a_real_tap_does_not_load_it():
    import subprocess
    import sys

    program = "from toyvisor.host.net import open_net; open_net()"
    program += "; import sys; print('toyvisor.host.tun' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "False\n", done.stderr
