"""The debug console's one port."""

from __future__ import annotations

import pytest

from toyvisor.host.console import Console
from toyvisor.qemu.devices.debugcon import DebugConsole


@pytest.fixture
def console():
    return Console()


@pytest.fixture
def port(bench, console):
    return DebugConsole(bench.context("debugcon"), console)


def test_a_byte_written_is_printed(bench, port, console):
    with bench.costs(copies=1, copied=1, write=1):
        port.write(0, 1, ord("A"))
    assert console.output == b"A"


def test_a_read_tells_bochs_guests_that_it_is_there(bench, port):
    with bench.costs():
        assert port.read(0, 1) == 0xE9


@pytest.mark.parametrize(("size", "value"), [(2, 0xFFE9), (4, 0xFFFFFFE9)])
def test_a_wider_access_reaches_one_port_only(bench, port, console, size, value):
    assert port.read(0, size) == value
    with bench.costs(copies=1, copied=1, write=1):
        port.write(0, size, 0x41424344)
    assert console.output == b"D"
