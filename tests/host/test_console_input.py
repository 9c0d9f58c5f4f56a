"""What the serial port gets to read: bytes known before, or a live file."""

from __future__ import annotations

import os

import pytest

from toyvisor.errors import InputError
from toyvisor.host.console_input import InputBytes, InputFile
from toyvisor.host.syscalls import read_char
from toyvisor.trace.ledger import Ledger


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe()
    ends = {"read": read_end, "write": write_end}
    yield ends
    for descriptor in ends.values():
        os.close(descriptor)


def test_bytes_come_in_order_and_as_many_as_asked_for():
    file = InputBytes(b"hello")
    assert [file.recv(2), file.recv(2), file.recv(2), file.recv(2)] == [b"he", b"ll", b"o", None]


def test_after_the_last_byte_the_line_is_silent_and_not_closed():
    file = InputBytes(b"x")
    assert file.readable
    file.recv(10)
    assert not file.readable
    assert not InputBytes(b"").readable


def test_too_many_bytes_are_an_input_error():
    InputBytes(bytes(InputBytes.LIMIT))
    with pytest.raises(InputError, match="more than 1 MiB"):
        InputBytes(bytes(InputBytes.LIMIT + 1))


def test_reading_is_a_call_and_a_copy_for_all_the_bytes():
    ledger, buffer = Ledger(), memoryview(bytearray(4))
    assert read_char(ledger, InputBytes(b"hello"), buffer) == 4
    assert bytes(buffer) == b"hell"
    assert ledger.syscalls == {"read": 1}
    assert (ledger.host_to_qemu.count, ledger.host_to_qemu.bytes) == (1, 4)


def test_a_live_file_has_what_has_come_so_far(pipe):
    file = InputFile(pipe["read"])
    assert not file.readable
    assert file.recv(10) is None, "and does not block"
    os.write(pipe["write"], b"key")
    assert file.readable
    assert [file.recv(2), file.recv(2), file.recv(2)] == [b"ke", b"y", None]


def test_the_end_of_a_live_file_is_an_empty_read(pipe):
    file = InputFile(pipe["read"])
    os.write(pipe["write"], b"last")
    os.close(pipe.pop("write"))
    ledger, buffer = Ledger(), memoryview(bytearray(10))
    assert read_char(ledger, file, buffer) == 4
    assert file.readable
    assert read_char(ledger, file, buffer) == 0
    assert ledger.host_to_qemu.count == 1, "nothing was copied at the end"


def test_a_live_file_stays_in_blocking_mode(pipe):
    InputFile(pipe["read"]).recv(1)
    assert os.get_blocking(pipe["read"])


def test_an_ordinary_file_can_always_be_read(tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(b"ab")
    with open(path, "rb") as opened:
        file = InputFile(opened.fileno(), "keys")
        assert [file.recv(9), file.readable, file.recv(9)] == [b"ab", True, b""]
