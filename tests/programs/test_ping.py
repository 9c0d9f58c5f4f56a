"""The real ping of the host, over a real tap, answered by a guest."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from own_net import OwnNet, why_not

from toyvisor.kvm import linux

pytestmark = pytest.mark.slow

ADDRESS, NEIGHBOUR = "10.0.0.2", "10.0.0.1"
GUEST_MAC = "52:54:00:12:34:56"
#: program, and what else the command line says
RESPONDERS = {
    "virtio-net": ("ping_responder", ()),
    "ioeventfd": ("ping_responder", ("--device", "virtio-net,ioeventfd=on")),
    "irqfd": ("ping_responder", ("--device", "virtio-net,ioeventfd=on,irqfd=on")),
    "vhost": ("ping_responder", ("--device", "virtio-net,vhost=on")),
    "mmio-nic": ("mmio_nic_ping_responder", ()),
}
REAL = {
    f"{way} on Linux's KVM": (program, (*options, "--accel", "kvm"))
    for way, (program, options) in RESPONDERS.items()
}
WAYS = RESPONDERS | (REAL if linux.why_not() is None else {})
SOME = [way for way in WAYS if way.partition(" on ")[0] in ("virtio-net", "vhost", "mmio-nic")]


class Responder:
    """A guest that answers at the other end of tap0, in a network of its own."""

    def __init__(self, net: OwnNet, program: str, options: tuple[str, ...]) -> None:
        self.net = net
        command = [sys.executable, "-m", "toyvisor", "run", program, "--net", "tap:tap0", *options]
        self.process = net.run(
            lambda: subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        self._wait_for_carrier()

    def _wait_for_carrier(self) -> None:
        """Frames that the host sends before the guest's side is open are lost."""
        for _ in range(2000):
            assert self.process.poll() is None, self.process.communicate()
            state = self.net.ip("link show tap0")
            if "LOWER_UP" in state and "qdisc noop" not in state:
                return
            time.sleep(0.01)
        raise AssertionError("tap0 does not come up")

    def ping(self, *options: str) -> str:
        """What `ping` prints; it may fail."""
        command = ["ping", "-n", "-W", "10", *options, ADDRESS]
        done = self.net.run(
            lambda: subprocess.run(command, capture_output=True, text=True, timeout=25)
        )
        assert self.process.poll() is None, self.process.communicate()
        return done.stdout

    def neighbours(self) -> str:
        """What the host has learned by ARP."""
        return self.net.ip("neigh show dev tap0")

    def interrupt(self) -> tuple[int, str, str]:
        """Ctrl-C: exit status, standard output and standard error."""
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=20)
        return self.process.returncode, output, errors


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
    own.ip(f"addr add {NEIGHBOUR}/24 dev tap0")
    own.ip("link set tap0 up")
    yield own
    own.close()


@pytest.fixture
def respond(net):
    started = []

    def respond(way: str) -> Responder:
        responder = Responder(net, *WAYS[way])
        started.append(responder)
        return responder

    yield respond
    for responder in started:
        if responder.process.poll() is None:
            responder.process.kill()
            responder.process.communicate()


@pytest.mark.parametrize("way", WAYS)
def test_five_pings_have_five_replies(respond, way):
    responder = respond(way)
    output = responder.ping("-c", "5", "-i", "0.5")  # for the last reply it waits as long
    assert "5 packets transmitted, 5 received, 0% packet loss" in output
    replies = re.findall(rf"64 bytes from {ADDRESS}: icmp_seq=(\d) ttl=64", output)
    assert replies == ["1", "2", "3", "4", "5"]
    assert GUEST_MAC in responder.neighbours()
    status, _, errors = responder.interrupt()
    assert status == 130
    assert "Traceback" not in errors
    assert "guest error" not in errors


@pytest.mark.parametrize("way", SOME)
def test_pings_of_every_size_come_back_with_their_data(respond, way):
    """With -p ping checks the data of each reply; the first 16 bytes are the time."""
    responder = respond(way)
    for size in (0, 1, 15, 16, 17, 56, 1001, 1472):
        output = responder.ping("-c", "1", "-s", str(size), "-p", "1337abcd")
        assert "1 received" in output, size
        assert "wrong data" not in output


@pytest.mark.parametrize("way", SOME)
def test_a_flood_of_pings_is_answered(respond, way):
    """Up to sixty on the way at once; -w waits until so many replies have come."""
    output = respond(way).ping("-c", "60", "-l", "60", "-i", "0.01", "-w", "20")
    assert re.search(r"\d+ packets transmitted, 60 received", output)


def test_nobody_else_is_answered_for(respond, net):
    responder = respond("virtio-net")
    missing = net.run(
        lambda: subprocess.run(
            ["ping", "-n", "-c", "1", "-W", "1", "10.0.0.3"], capture_output=True, timeout=25
        )
    )
    assert missing.returncode == 1
    assert "1 received" in responder.ping("-c", "1")
    assert re.search(r"10\.0\.0\.3 +(FAILED|INCOMPLETE)", responder.neighbours())


@pytest.mark.parametrize("way", SOME)
def test_odd_frames_do_no_harm(respond, net, way):
    """Short ones, IPv6, nonsense in ARP and IP; then it still answers."""
    responder = respond(way)
    ours = bytes.fromhex(GUEST_MAC.replace(":", ""))
    source = bytes(range(2, 14, 2))
    oddities = [
        ours + source,  # no EtherType: 12 bytes
        ours + source + b"\x08\x00",
        ours + source + b"\x08\x06" + bytes(27),
        ours + source + b"\x08\x00" + b"\x4f" + bytes(45),
        ours + source + b"\x08\x00" + b"\x45\x00\xff\xff" + bytes(42),
        b"\xff" * 6 + source + b"\x86\xdd" + bytes(50),
        ours + source + b"\x08\x00" + b"\xff" * 1500,
    ]

    def send_all() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("tap0", 0))
            for frame in oddities:
                try:
                    raw.send(frame)
                except OSError:  # the kernel sends no frame shorter than its header
                    assert len(frame) < 14

    net.run(send_all)
    assert "3 received" in responder.ping("-c", "3", "-w", "20")
    status, _, errors = responder.interrupt()
    assert (status, "guest error" in errors) == (130, False)


def test_ctrl_c_ends_it_while_it_waits(respond):
    """Nothing comes in, nobody is in the guest: it ends all the same, and at once."""
    responder = respond("virtio-net")
    time.sleep(0.3)
    started = time.monotonic()
    status, printed, errors = responder.interrupt()
    assert time.monotonic() - started < 5
    assert (status, errors) == (130, "\n")
    assert "stopped by Ctrl-C" in printed


def test_a_tap_that_was_not_there_is_said_to_be_new(net):
    """A name with a slip in it would else wait for ever without a word."""
    done = net.run(
        lambda: subprocess.run(
            [sys.executable, "-m", "toyvisor", "run", "virtio_net_tx", "--net", "tap:tap7"],
            capture_output=True, text=True, check=True,
        )
    )  # fmt: skip
    assert "there was no tap7: made it" in done.stderr
    assert "tap7" not in net.ip("link show")
