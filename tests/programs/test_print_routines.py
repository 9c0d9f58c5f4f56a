"""print.inc: what it prints, and which registers it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Run, load_here, run

MASK = (1 << 64) - 1
KEPT = ("rbx", "rdi", "rbp", *(f"r{n}" for n in range(8, 16)))

CALL = """
; /// machine
; title = "one call"
; mode = "long"
; devices = ["serial", "debugcon"]
; ///
.include "machine.inc"
.include "serial.inc"
_start: call {routine}
        hlt
text:   .asciz "a text, ä, \\t"
nothing: .asciz ""
{where}
.include "print.inc"
"""

TO_DEBUGCON = ".set PRINT_ON_DEBUGCON, 1"


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Call a routine on serial port or debug console with rax, rcx, rsi; the printed text."""
    programs = {}
    for routine in ("char", "text", "hex", "decimal", "signed", "newline"):
        for where in ("", TO_DEBUGCON):
            folder = tmp_path_factory.mktemp(routine)
            text = CALL.format(routine=f"print_{routine}", where=where)
            programs[routine, where] = load_here(folder, text)

    def call(routine: str, *, where: str = TO_DEBUGCON, **registers: int | str) -> Run:
        program = programs[routine, where]
        labels = program.assembly.symbols
        given = {name: v if isinstance(v, int) else labels[v] for name, v in registers.items()}
        kept = {name: 0x1111 * number for number, name in enumerate(KEPT)}
        finished = run(program, registers=kept | given)
        assert finished.outcome == "halted"
        assert {name: getattr(finished.registers, name) for name in KEPT} == kept
        return finished

    return call


@settings(deadline=None)
@given(value=st.integers(0, MASK) | st.integers(0, 1000))
def test_decimal(call, value):
    assert call("decimal", rax=value).console == str(value)


@settings(deadline=None)
@given(value=st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-1000, 1000))
def test_signed(call, value):
    assert call("signed", rax=value).console == str(value)


@settings(deadline=None)
@given(value=st.integers(0, MASK), digits=st.integers(1, 16))
def test_hex_prints_the_lowest_digits(call, value, digits):
    assert call("hex", rax=value, rcx=digits).console == f"{value:016x}"[-digits:]


def test_text_and_characters(call):
    assert call("text", rsi="text").console == "a text, ä, \t"
    assert call("text", rsi="nothing").console == ""
    assert call("char", rax=ord("x")).console == "x"
    assert call("newline").console == "\n"


@pytest.mark.parametrize(
    ("where", "exits"), [("", 2), (TO_DEBUGCON, 1)], ids=["serial", "debugcon"]
)
@pytest.mark.parametrize(
    ("routine", "registers", "printed"),
    [
        ("char", {"rax": 0x41}, "A"),
        ("text", {"rsi": "text"}, "a text, ä, \t"),
        ("hex", {"rax": 0xBEEF, "rcx": 4}, "beef"),
        ("decimal", {"rax": 1234}, "1234"),
        ("signed", {"rax": -7}, "-7"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_a_character_costs_two_exits_on_the_serial_port_and_one_on_the_debug_console(
    call, where, exits, routine, registers, printed
):
    finished = call(routine, where=where, **registers)
    assert finished.console == printed
    assert finished.exits["io"] == exits * len(printed.encode())
