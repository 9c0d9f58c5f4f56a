"""A network namespace of its own for a test: real taps, and nobody's network touched.

Linux gives every thread its own namespace and capabilities, so a thread that leaves the
process's network is all it takes. It needs CAP_SYS_ADMIN and /dev/net/tun.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CLONE_NEWNET = 0x40000000
CAP_NET_ADMIN = 12
_CAPABILITY_VERSION_3 = 0x20080522
ETHERTYPE = 0x88B5  # local experimental: nobody else's frames

T = TypeVar("T")


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


class OwnNet:
    """A thread in a network of its own; `run` does something there."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1)

    def run(self, action: Callable[..., T], *arguments: object) -> T:
        return self._threads.submit(action, *arguments).result(timeout=30)

    def ip(self, command: str) -> str:
        """`ip COMMAND` in the namespace."""
        done = self.run(
            lambda: subprocess.run(
                ["ip", *command.split()], capture_output=True, text=True, timeout=10, check=True
            )
        )
        return done.stdout

    def enter(self) -> None:
        self.run(_call, "unshare", CLONE_NEWNET)
        with self.run(open, "/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as file:
            file.write("1")  # no frames but ours

    def host_side(self, device: str) -> HostSide:
        """The host's end of an opened tap, once the kernel lets frames through.

        That a program has opened the tap reaches the device's queue a moment later (linkwatch);
        what is sent before is lost.
        """
        for _ in range(1000):
            state = self.ip(f"link show {device}")
            if "LOWER_UP" in state and "qdisc noop" not in state:
                return self.run(HostSide, device)
            time.sleep(0.01)
        raise AssertionError(f"{device} does not come up")

    def drop_net_admin(self) -> None:
        """From now on the thread is a user who may not make network devices."""
        self.run(_drop, CAP_NET_ADMIN)

    def close(self) -> None:
        self._threads.shutdown()


def _drop(capability: int) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low words, then high
    _call("capget", header, sets)
    sets[0] &= ~(1 << capability)
    sets[1] &= ~(1 << capability)
    _call("capset", header, sets)


class HostSide:
    """The host's own end of a tap device: a packet socket on it."""

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        self._socket.bind((device, ETHERTYPE))
        self._socket.settimeout(10)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self) -> bytes:
        return self._socket.recv(70000)

    def close(self) -> None:
        self._socket.close()


def why_not() -> str | None:
    """Why this machine can't have real taps in a namespace; None if it can."""
    if sys.platform != "linux":
        return "real taps need Linux"
    net = OwnNet()
    try:
        net.enter()
        net.ip("tuntap add probe mode tap")
    except (OSError, subprocess.SubprocessError) as error:
        return f"no real tap here: {error}"
    finally:
        net.close()
    return None
