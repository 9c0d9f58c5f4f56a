"""Guest memory as rows: what is mapped, what it is called, where a register points."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import program, session, session_of

from toyvisor.debug.views.memory import (
    changed_bytes,
    label_of,
    memory_rows,
    peek_memory,
    pointer_rows,
)
from toyvisor.errors import UsageError


def test_rows_of_bytes_with_their_characters_and_labels() -> None:
    with session("hello_protected") as s:
        start = s.resolve("text")
        first, second, *_ = memory_rows(s.machine, start, 3, program=s.program)
    assert first.address == start & ~15 == 0x100010
    assert first.label == "text at +0x3"
    assert first.ascii == ".n.Hello from pr"
    assert first.hex.startswith("f3 6e f4 48 65")
    assert second.address == 0x100020


def test_a_row_begins_at_a_multiple_of_its_width() -> None:
    with session("one_store") as s:
        rows = memory_rows(s.machine, 0x100007, 2, width=8)
    assert [row.address for row in rows] == [0x100000, 0x100008]
    assert all(len(row.data) == 8 for row in rows)


def test_what_is_not_ram_is_shown_as_such() -> None:
    with session("one_store") as s:
        end = len(s.machine.ram)
        last, device = (memory_rows(s.machine, at, 1)[0] for at in (end - 16, 0xD000_0000))
        assert None not in last.data
        assert device.data == (None,) * 16
        assert (device.hex[:5], device.ascii) == ("?? ??", "·" * 16)
        assert peek_memory(s.machine, end - 1, 2) == (0, None)


def test_linear_memory_goes_through_the_page_tables() -> None:
    """page_fault maps a page when it is touched; before that it is not there."""
    with session("page_fault") as s:
        unmapped = 0x1_0000_0000
        assert memory_rows(s.machine, unmapped, 1, linear=True)[0].data == (None,) * 16
        s.run_to("mapped")
        assert None not in memory_rows(s.machine, unmapped, 1, linear=True)[0].data


def test_rows_follow_a_pointer(tmp_path: Path) -> None:
    source = "mov esi, 0x3008\nmov rsp, rsi\npush 0x11\nhlt"
    with session_of(source, tmp_path, block='mode = "long"') as s:
        s.step(count=3)
        view = pointer_rows(s.machine, "rsp", 5)
        assert (view.address, view.row) == (0x3000, 2)
        assert [row.address for row in view.rows] == [0x2FE0, 0x2FF0, 0x3000, 0x3010, 0x3020]
        assert view.rows[2].data[0] == 0x11
        assert pointer_rows(s.machine, "esi", 1).address == 0x3008
        with pytest.raises(UsageError, match="xmm0 is no register"):
            pointer_rows(s.machine, "xmm0", 1)


def test_in_real_mode_a_pointer_is_in_its_segment(tmp_path: Path) -> None:
    source = "mov ax, 0x200\nmov ds, ax\nmov si, 0x10\nhlt"
    with session_of(source, tmp_path, block='mode = "real"') as s:
        s.step(count=3)
        view = pointer_rows(s.machine, "si", 1)
    assert (view.segment_base, view.address) == (0x2000, 0x2010)


def test_bytes_that_changed(tmp_path: Path) -> None:
    with session_of("mov dword ptr [0x3002], 0xff00ff\nhlt", tmp_path, block='mode = "long"') as s:
        before = memory_rows(s.machine, 0x3000, 2)
        s.step()
        assert changed_bytes(before, memory_rows(s.machine, 0x3000, 2)) == {0x3002, 0x3004}


def test_names_of_addresses() -> None:
    tx = program("virtio_net_tx")
    assert label_of(tx, tx.assembly.symbols["wait_reset"]) == "wait_reset"
    assert label_of(tx, tx.assembly.symbols["wait_reset"] + 4) == "wait_reset+0x4"
    assert label_of(tx, 0x20000) == "VIRTQ_DESC"  # an area of RAM that the program uses
    assert label_of(tx, 0x20001) == ""
    assert label_of(tx, 8) == ""  # QUEUE_SIZE is 8, and no place
    assert label_of(tx, 0x100278) == "panic"


def test_a_local_label_has_its_whole_name() -> None:
    tx = program("virtio_net_tx")
    assert label_of(tx, tx.assembly.symbols["panic.stop"]) == "panic.stop"


def test_a_constant_that_is_no_address_names_no_memory() -> None:
    """GATE_TRAP is 0x8f00, and the guest's stack happens to be there."""
    assert label_of(program("breakpoint"), 0x8F00) == ""
