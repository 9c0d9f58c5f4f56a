"""The server: over TCP, with Ctrl-C on both sides, one gdb after the other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from toyvisor.debug.gdb.connection import Connection, Disconnected
from toyvisor.debug.gdb.packets import frame
from toyvisor.debug.gdb.server import Address, bound_to, listen, parse_address, serve_tcp
from toyvisor.debug.gdb.symbol_file import symbol_file
from toyvisor.debug.session import Session
from toyvisor.errors import InputError, UsageError
from toyvisor.guest.program import load_program

LOOPBACK = Address("127.0.0.1", 0)


class Caller:
    """gdb's end of a connection: the packets that come in, one by one."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(tuple(address))
        self.connection = Connection(self.socket.fileno(), self.socket.fileno())
        self.connection.acknowledges = True

    def ask(self, packet: bytes) -> bytes:
        self.connection.send(packet)
        return self.connection.receive()

    def rest(self) -> bytes:
        """All that comes until the other side is gone."""
        found = b""
        while part := self.socket.recv(100):
            found += part
        return found

    def close(self) -> None:
        self.socket.close()


def served(program: str, *callers: Callable[[Caller], None], keep: bool = False) -> list[str]:
    """Serve a program while callers come, one after the other; what the server tells."""
    told: list[str] = []
    failures: list[BaseException] = []
    with listen(LOOPBACK) as listener, Session(load_program(program)) as session:

        def call() -> None:
            for caller in callers:
                gdb = Caller(bound_to(listener))
                try:
                    caller(gdb)
                except BaseException as failure:
                    failures.append(failure)
                    gdb.connection.send(b"k")  # the server is not to wait for another
                finally:
                    gdb.close()

        thread = threading.Thread(target=call)
        thread.start()
        serve_tcp(session, listener, told.append, keep=keep)
        thread.join()
    if failures:
        raise failures[0]
    return told


def test_a_conversation_over_tcp():
    def conversation(gdb: Caller) -> None:
        assert gdb.ask(b"qSupported").startswith(b"PacketSize=4000;")
        assert gdb.ask(b"QStartNoAckMode") == b"OK"
        gdb.connection.acknowledges = False
        assert gdb.ask(b"m1000,3") == b"baf803"
        gdb.connection.send(b"c")
        console = bytes.fromhex(gdb.connection.receive()[1:].decode())
        assert console == b"4\nthe run is over: halted: the guest executed HLT\n"
        assert b"replaylog:end" in gdb.connection.receive()
        assert gdb.ask(b"D") == b"OK"

    assert served("add", conversation) == ["gdb is connected", "gdb has left"]


def test_packets_are_acknowledged_and_sent_again_on_demand():
    def conversation(gdb: Caller) -> None:
        gdb.socket.sendall(frame(b"qC")[:-1] + b"x")
        assert gdb.socket.recv(1) == b"-"
        gdb.socket.sendall(frame(b"qC"))
        assert gdb.socket.recv(1) == b"+"
        gdb.socket.sendall(b"-" + frame(b"k"))
        assert gdb.rest() == 2 * frame(b"QC1") + b"+"

    served("add", conversation)


def test_ctrl_c_in_gdb_stops_the_guest_where_it_is():
    def conversation(gdb: Caller) -> None:
        for _ in range(2):
            gdb.connection.send(b"vCont;c")
            gdb.socket.sendall(b"\x03")
            assert gdb.connection.receive().startswith(b"T02")
        assert gdb.ask(b"vKill;1") == b"OK"

    served("spin", conversation)


def test_gdb_that_goes_while_the_guest_runs_ends_the_run():
    def conversation(gdb: Caller) -> None:
        gdb.connection.send(b"c")

    assert served("spin", conversation) == ["gdb is connected", "gdb has left"]


def test_the_next_gdb_finds_the_guest_where_the_last_one_left_it():
    def first(gdb: Caller) -> None:
        assert gdb.ask(b"Z0,1007,1") == b"OK"
        gdb.ask(b"s")
        assert gdb.ask(b"D") == b"OK"

    def second(gdb: Caller) -> None:
        assert gdb.ask(b"p8") == b"03100000"  # eip
        gdb.connection.send(b"c")
        while (answer := gdb.connection.receive()).startswith(b"O"):
            pass
        assert b"replaylog:end" in answer  # the breakpoint is gone
        gdb.connection.send(b"k")
        with pytest.raises(Disconnected):
            gdb.connection.receive()

    assert served("add", first, second, keep=True) == ["gdb is connected", "gdb has left"] * 2


@pytest.mark.parametrize(("text", "address"), [
    ("127.0.0.1:1234", ("127.0.0.1", 1234)), (":0", ("127.0.0.1", 0)),
    ("1234", ("127.0.0.1", 1234)), ("localhost:80", ("localhost", 80)), ("[::1]:5", ("::1", 5)),
    ("0.0.0.0:65535", ("0.0.0.0", 65535)),
])  # fmt: skip
def test_addresses(text, address):
    assert parse_address(text) == address


def test_which_addresses_stay_on_this_machine():
    hosts = ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "::", "10.0.0.1", "host")
    assert [host for host in hosts if Address(host, 1).is_loopback] == [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "localhost",
    ]


@pytest.mark.parametrize("text", ["", "x", "127.0.0.1", "127.0.0.1:", ":x", ":65536", ":-1", ":٣"])
def test_what_is_no_address(text):
    with pytest.raises(UsageError, match="no port"):
        parse_address(text)


def test_a_port_that_is_taken():
    with listen(LOOPBACK) as listener, pytest.raises(InputError, match="can't listen on 127"):
        listen(bound_to(listener))


# The command ----------------------------------------------------------------------------


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "toyvisor", "gdb", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def address_of(server: subprocess.Popen[str]) -> Address:
    assert server.stderr is not None
    line = server.stderr.readline()
    assert "waits for gdb: target remote 127.0.0.1:" in line
    return parse_address(line.split()[-1])


def test_ctrl_c_in_the_terminal_while_it_waits():
    with started("add", "--listen", ":0") as server:
        address_of(server)
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=30) == ("", "interrupted\n")
        assert server.returncode == 130


def test_ctrl_c_in_the_terminal_while_the_guest_runs():
    with started("spin", "--listen", ":0", "--max-instructions", "1000000000000") as server:
        gdb = Caller(address_of(server))
        gdb.connection.send(b"c")
        assert gdb.socket.recv(1) == b"+"
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=30)[1].endswith("interrupted\n")
        assert server.returncode == 130
        gdb.close()


def test_standard_input_and_output():
    with started("add", "--stdio") as server:
        out, err = server.communicate("$?#3f+$k#6b", timeout=30)
        assert out.replace("+", "").startswith("$T05")
        assert (server.returncode, err) == (0, "")


def test_the_end_of_standard_input_is_the_end():
    with started("add", "--stdio") as server:
        assert server.communicate("", timeout=30) == ("", "")
        assert server.returncode == 0


@pytest.mark.parametrize(("arguments", "complaint"), [
    (["add", "--listen", "0.0.0.0:0"], "--listen 0.0.0.0:0: others could reach it"),
    (["add", "--listen", "x"], "--listen x: no port (hint: --listen 127.0.0.1:1234)"),
    (["nothing"], "nothing"),
    (["add", "--net", "pcap:,"], "--net: add has no network card"),
    (["virtio_net_tx", "--net", "pcap:,o"], "a run that can be stepped back keeps no capture"),
    (["virtio_net_tx", "--net", "tap:toy0"], "a real network can't be stepped back through"),
    (["one_store", "--input", "x"], "--input: one_store has no serial port"),
    (["hello_serial", "--input", "-"], "--input -: a run that can be stepped back needs a file"),
    (["hello_serial", "--input", "no/such"], "can't read no/such: No such file or directory"),
    (["hello_serial", "--device", "virtio-net,vhost=on"], "hello_serial has no virtio-net"),
    (["add", "--symbols", "no/such/file"], "can't write no/such/file"),
    (["add", "--stdio", "--symbols", "-"], "--symbols - and --stdio both want standard output"),
])  # fmt: skip
def test_mistakes(arguments, complaint):
    with started(*arguments) as server:
        _, err = server.communicate("", timeout=30)
        assert server.returncode == 2
        assert complaint in err
        assert err.count("\n") == 1


def test_symbols_are_written_before_gdb_is_waited_for(tmp_path: Path):
    path = tmp_path / "add.elf"
    with started("add", "--listen", ":0", "--symbols", str(path)) as server:
        address_of(server)
        assert path.read_bytes() == symbol_file(load_program("add"))
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 130


def test_an_address_that_others_reach_is_warned_of(tmp_path: Path):
    with started("add", "--listen", "0.0.0.0:0", "--allow-remote") as server:
        assert server.stderr is not None
        assert server.stderr.readline() == (
            "warning: whoever reaches 0.0.0.0:0 can read and change the guest\n"
        )
        assert "target remote 0.0.0.0:" in server.stderr.readline()
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(timeout=30) == 130
