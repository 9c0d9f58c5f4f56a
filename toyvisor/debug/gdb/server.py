"""Waiting for gdb: on a TCP port, or at the other end of a pipe that gdb has made."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address
from typing import NamedTuple

from toyvisor.debug.gdb.connection import Connection
from toyvisor.debug.gdb.ctrl_c import CtrlC
from toyvisor.debug.gdb.serving import serve
from toyvisor.debug.session import Session
from toyvisor.errors import InputError, UsageError

DEFAULT_ADDRESS = "127.0.0.1:1234"


class Address(NamedTuple):
    """Where to listen. Port 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost is not looked up."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> Address:
    """HOST:PORT, :PORT, PORT or [HOST]:PORT. Raises UsageError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdecimal()) or int(port) > 0xFFFF:
        raise UsageError(f"--listen {text}: no port", hint=f"--listen {DEFAULT_ADDRESS}")
    return Address(host, int(port))


def listen(address: Address) -> socket.socket:
    """A socket that listens there. Raises InputError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(tuple(address))
        listener.listen(1)
    except (OSError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"can't listen on {address}: {reason}", hint="--listen 127.0.0.1:0 takes a free port"
        ) from None
    return listener


def bound_to(listener: socket.socket) -> Address:
    """Where it really listens."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def serve_tcp(
    session: Session, listener: socket.socket, tell: Callable[[str], None], *, keep: bool = False
) -> None:
    """Wait for gdb and answer it, one at a time; with `keep`, then for the next one.

    The next one finds the session where the last one left it. Who kills the program ends us.
    `tell` is for who sits at this end. Raises KeyboardInterrupt for Ctrl-C here.
    """
    with CtrlC() as ctrl_c:
        while True:
            client, _ = listener.accept()
            with closing(client):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                tell("gdb is connected")
                killed = serve(session, Connection(client.fileno(), client.fileno()), ctrl_c)
            tell("gdb has left")
            if killed or not keep:
                return


def serve_stdio(session: Session) -> None:
    """Answer the gdb that has started us by `target remote | toyvisor gdb PROGRAM --stdio`."""
    with CtrlC() as ctrl_c:
        serve(session, Connection(0, 1), ctrl_c)
