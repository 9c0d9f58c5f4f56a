"""The registers as a person sees them: names of the mode, flags by name, what has changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import session, session_of

from toyvisor.debug.views.registers import changed_registers, registers_view


def test_registers_have_the_names_and_widths_of_the_mode() -> None:
    with session("one_store") as long, session("hello_protected") as protected:
        of_long, of_protected = registers_view(long.machine), registers_view(protected.machine)
    assert (of_long.mode, of_long.code_bits, of_long.ip.name) == ("long", 64, "rip")
    assert [r.name for r in of_long.general][:3] == ["rax", "rbx", "rcx"]
    assert len(of_long.general) == 16
    assert (of_protected.mode, of_protected.code_bits, of_protected.ip.name) == (
        "protected", 32, "eip",
    )  # fmt: skip
    assert [r.name for r in of_protected.general] == [
        "eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp",
    ]  # fmt: skip
    assert of_protected.flags.name == "eflags"


def test_real_mode_is_told_by_cr0_and_its_code_has_16_bits() -> None:
    with session("add") as real:
        view = registers_view(real.machine)
    assert (view.mode, view.code_bits) == ("real", 16)
    assert view.ip.text == "00001000"


def test_flags_by_name(tmp_path: Path) -> None:
    with session_of("mov al, 0x80\nadd al, 0x80\nsti\nhlt", tmp_path, block='mode = "long"') as s:
        s.step(count=2)
        view = registers_view(s.machine)
        assert view.set_flags == "CF PF ZF OF"
        assert {flag.name: flag.value for flag in view.flag_bits}["IF"] == 0
        s.step()
        assert registers_view(s.machine).set_flags == "CF PF ZF IF OF"


def test_what_an_instruction_changed(tmp_path: Path) -> None:
    with session_of("sub rax, rax\nmov ecx, 5\nhlt", tmp_path, block='mode = "long"') as s:
        first = registers_view(s.machine)
        s.step()
        second = registers_view(s.machine)
        s.step()
        third = registers_view(s.machine)
    assert changed_registers(first, second) == {"rip", "rflags", "ZF", "PF"}
    assert changed_registers(second, third) == {"rip", "rcx"}
    assert changed_registers(None, third) == frozenset()


def test_tables_and_segments() -> None:
    with session("timer_tick") as s:
        s.run_to("pic_init")
        view = registers_view(s.machine)
    tables = {table.name: (table.base, table.limit) for table in view.tables}
    assert tables == {"gdtr": (0x500, 23), "idtr": (0xF000, 4095)}
    cs = next(segment for segment in view.segments if segment.name == "cs")
    assert (cs.selector, cs.bits) == (0x08, 64)


@pytest.mark.parametrize(("place", "level"), [("_start", 0), ("USER_PAGE", 3)])
def test_privilege_level(place: str, level: int) -> None:
    with session("user_mode") as s:
        if place != "_start":
            s.run_to(place)
        assert registers_view(s.machine).cpl == level
