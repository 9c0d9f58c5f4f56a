"""A real tap: a network device of the real host, with QEMU at one side.

Linux: Documentation/networking/tuntap.rst, drivers/net/tun.c. The same file operations as
`Tap`, with the real network behind them. Loaded only when `--net tap:NAME` asks for it.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from contextlib import suppress
from fcntl import ioctl
from struct import Struct

from toyvisor.errors import InputError, MachineError, UsageError
from toyvisor.host.frames import MAX_FRAME
from toyvisor.host.poll import can_read
from toyvisor.host.waiters import WaitQueue
from toyvisor.host.wire import FarEnd

DEVICE = "/dev/net/tun"
# <linux/if_tun.h>
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000  # no four bytes of protocol before each frame
# <linux/sockios.h>, <net/if.h>
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 1
#: struct ifreq: the name, then a union, here flags
_IFREQ = Struct("16sH22x")
IFNAMSIZ = 16
#: dev_valid_name() of Linux; a % would have the kernel choose a number for it
_NAME = re.compile(rb"(?!\.{1,2}\Z)[^\s/%%:\0]{1,%d}\Z" % (IFNAMSIZ - 1))


class TunTap(WaitQueue):
    """An open tap: the device `name`, attached to or made.

    A device that is there already stays when this is closed (`ip tuntap add` made it); one
    that had to be made, which takes CAP_NET_ADMIN, goes again.

    `far_end` sees what QEMU sends, `watcher` what it reads.
    """

    __slots__ = ("_descriptor", "far_end", "is_new", "name", "watcher")

    def __init__(
        self, name: str, far_end: FarEnd | None = None, watcher: FarEnd | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.far_end = far_end
        self.watcher = watcher
        #: is_new: there was no such device
        self._descriptor, self.is_new = _open(name)

    def transmit(self, frame: bytearray) -> None:
        """Send a frame to the host's network. Raises OSError, EIO if the device is down."""
        os.write(self._descriptor, frame)
        if self.far_end is not None:
            self.far_end.receive(bytes(frame))

    def recv(self) -> bytes | None:
        """The next frame from the host's network, or None. Raises OSError."""
        try:
            frame = os.read(self._descriptor, MAX_FRAME)
        except BlockingIOError:
            return None
        if self.watcher is not None:
            self.watcher.receive(frame)
        return frame

    @property
    def readable(self) -> bool:
        """Whether a frame waits, asked of the real kernel."""
        return can_read(self._descriptor)

    def fileno(self) -> int:
        """The real file descriptor, for a `Poller`."""
        return self._descriptor

    def close(self) -> None:
        """Let go of the device. Once more: nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open(name: str) -> tuple[int, bool]:
    """An attached descriptor, and whether the device had to be made.

    Raises ToyvisorError with what to do about it.
    """
    try:
        device = os.fsencode(name)
    except UnicodeEncodeError:  # half a character
        device = b""
    if not _NAME.match(device):
        raise UsageError(
            f"--net tap:{name}: no name of a network device",
            hint="up to 15 bytes without space, slash, colon or percent sign: tap0",
        )
    is_new = not _exists(name)
    try:
        descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        hint = (
            f"let everybody open it, as most distributions do: sudo chmod 666 {DEVICE}"
            if error.errno == errno.EACCES
            else f"its kernel module: sudo modprobe tun; in a container: --device {DEVICE}"
        )
        raise MachineError(f"{DEVICE}: {error.strerror}", hint=hint) from None
    try:
        ioctl(descriptor, TUNSETIFF, _IFREQ.pack(device, IFF_TAP | IFF_NO_PI))
        _bring_up(name, device, is_new)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise _refused(name, is_new, error) from None
        raise
    return descriptor, is_new


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _refused(name: str, is_new: bool, error: OSError) -> InputError | MachineError:
    """TUNSETIFF failed: why, and what a person can do (tun_set_iff, tun_attach)."""
    make = f"sudo ip tuntap add {name} mode tap user $USER && sudo ip link set {name} up"
    if is_new and error.errno == errno.EPERM:
        return InputError(f"no network device {name}, and no right to make one", hint=make)
    if error.errno == errno.EPERM:
        return MachineError(
            f"{name} belongs to another user",
            hint=f"make it again for yourself: sudo ip link del {name} && {make}",
        )
    if error.errno == errno.EBUSY:
        return MachineError(
            f"{name} is in use by another program", hint="stop that one, or use another tap"
        )
    if error.errno == errno.EINVAL:
        return InputError(
            f"{name} is a network device, but no tap of one queue",
            hint=f"see what it is: ip -d link show {name}",
        )
    return MachineError(f"{name}: {error.strerror or error}")


def _bring_up(name: str, device: bytes, is_new: bool) -> None:
    """A device of our own is brought up; one that was there is its owner's affair."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        request = ioctl(any_socket, SIOCGIFFLAGS, _IFREQ.pack(device, 0))
        flags = _IFREQ.unpack(request)[1]
        if flags & IFF_UP:
            return
        if is_new:
            with suppress(OSError):  # then it is down, and said so below
                ioctl(any_socket, SIOCSIFFLAGS, _IFREQ.pack(device, flags | IFF_UP))
                return
    raise InputError(f"{name} is down", hint=f"sudo ip link set {name} up")
