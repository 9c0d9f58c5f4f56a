"""Expressions: what they are worth, what is wrong with them and where, whatever is typed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.debug.expressions import (
    ExpressionError,
    NoValueError,
    UnknownNameError,
    parse,
)
from toyvisor.debug.register_names import PARTS

WORD = (1 << 64) - 1
MEMORY = bytes(range(256))


REGISTERS = {
    "rax": 0xFFFF_FFFF_FFFF_FFF5, "rdi": 0x10, "r8": 0x1_0000_1234, "rip": 0x7C00,
    "rflags": 0x3246, "cs": 8, "cr0": 0x80000011,
}  # fmt: skip
SYMBOLS = {"buffer": 0x20, "main.loop": 0x1005, "events": 0x77, "SIZE": 64}
COUNTERS = {"exits.mmio": 3, "instructions": 9, "events": 40, "virtio_net.Status": 0xF}


class Some:
    """Names of a machine that stands still."""

    def register(self, name: str) -> int:
        return REGISTERS.get(name, 0)

    def symbol(self, name: str) -> int | None:
        return SYMBOLS.get(name)

    def memory(self, address: int, size: int) -> int:
        if address + size > len(MEMORY):
            raise NoValueError(f"no memory at {address:#x}")
        return int.from_bytes(MEMORY[address : address + size], "little")

    def dotted(self, path: str) -> int:
        if path not in COUNTERS:
            raise UnknownNameError(f"no {path}")
        return COUNTERS[path]

    def like(self, name: str) -> list[str]:
        return [known for known in SYMBOLS if known.lower() == name.lower()]


def value(text: str) -> int:
    return parse(text).evaluate(Some())


def error(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        value(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("010", 10), ("1_000", 1000), ("4K", 4096),
        ("2M", 2 << 20), ("1g", 1 << 30), ("'a'", 97), (r"'\n'", 10), ("0xAG"[:3], 10),
        ("18446744073709551615", WORD),
    ],
)  # fmt: skip
def test_numbers(text: str, expected: int) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rax", 0xFFFF_FFFF_FFFF_FFF5), ("eax", 0xFFFF_FFF5), ("ax", 0xFFF5), ("al", 0xF5),
        ("ah", 0xFF), ("RAX", 0xFFFF_FFFF_FFFF_FFF5), ("$rdi", 16), ("$pc", 0x7C00),
        ("r8", 0x1_0000_1234), ("r8d", 0x1234), ("r8w", 0x1234), ("r8b", 0x34), ("dil", 0x10),
        ("ip", 0x7C00), ("cs", 8), ("cr0 & 1", 1), ("zf", 1), ("cf", 0), ("if", 1), ("pf", 1),
        ("iopl", 3), ("flags", 0x3246),
    ],
)  # fmt: skip
def test_registers_their_parts_and_flags(text: str, expected: int) -> None:
    assert value(text) == expected


def test_every_part_lies_in_a_register_that_there_is() -> None:
    wholes = {part.register for part in PARTS.values()}
    assert all(PARTS[whole].bits in (16, 64) for whole in wholes)
    assert {PARTS[name].register for name in ("sil", "bpl", "sp", "r15b", "bh")} == {
        "rsi", "rbp", "rsp", "r15", "rbx",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "put", "whole"),
    [
        ("rax", 1, 1),
        ("eax", 1, 1),  # as an instruction does: the upper half is cleared
        ("ax", 1, 0x1111_1111_1111_0001),
        ("al", 0x1FF, 0x1111_1111_1111_11FF),
        ("ah", 0, 0x1111_1111_1111_0011),
        ("zf", 1, 0x1111_1111_1111_1151),
    ],
)
def test_putting_a_part_into_its_register(name: str, put: int, whole: int) -> None:
    assert PARTS[name].put_into(0x1111_1111_1111_1111, put) == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[0x10]", 0x1716151413121110), ("[rdi]", 0x1716151413121110), ("[rdi + 4]:4", 0x17161514),
        ("u8[buffer]", 0x20), ("u16[buffer+1]", 0x2221), ("u32[0]", 0x03020100),
        ("u64[0]", 0x0706050403020100), ("s8[0x80]", -128), ("s16[0xfe]", -2),
        ("byte [3]", 3), ("word ptr [3]", 0x0403), ("DWORD PTR [0]", 0x03020100),
        ("qword [0] & 0xff", 0), ("[u8[0x10] + 1]:1", 0x11),
    ],
)  # fmt: skip
def test_memory(text: str, expected: int) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("buffer", 0x20), ("buffer + SIZE", 0x60), ("main.loop", 0x1005), ("exits.mmio", 3),
        ("virtio_net.Status", 15), ("instructions", 9), ("events", 40), ("&events", 0x77),
        ("0xff & exits.mmio", 3),
    ],
)  # fmt: skip
def test_labels_counters_and_devices(text: str, expected: int) -> None:
    """A counter goes before a label of its name; & is always the label."""
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 + 3 * 4", 14), ("(2 + 3) * 4", 20), ("1 << 4 + 1", 32), ("6 & 3 == 2", 1),
        ("1 | 2 ^ 3 & 1", 3), ("-1", WORD), ("~0", WORD), ("0 - 1 > 5", 1), ("7 / 2", 3),
        ("7 // 2", 3), ("7 % 4", 3), ("1 << 63 << 1", 0), ("1 << 64", 0), ("1 << -1", 0),
        ("rax >> 60", 15), ("rax >> 200", 0), ("not 1 == 2", 1), ("!1 == 0", 1), ("not 0 and 0", 0),
        ("1 or 1 / 0", 1), ("0 and 1 / 0", 0), ("5 && 7", 1), ("0 || 0", 0), ("- - 3", 3),
        ("+3", 3), ("2 - 1 - 1", 0), ("64 / 4 / 2", 8),
    ],
)  # fmt: skip
def test_operators(text: str, expected: int) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("signed(rax)", -11), ("signed(eax)", -11), ("signed(al)", -11),
        ("signed(r8)", 0x100001234),
        ("signed(rax) < 0", 1), ("rax < 0", 0), ("0 > signed(al)", 1), ("signed(al) / 2", -5),
        ("signed(al) % 2", -1), ("signed(al) >> 1", -6), ("signed(eax) == -11", 1),
        ("eax == -11", 0), ("signed(u8[0xff])", -1), ("-signed(al)", 11), ("~signed(al)", 10),
        ("signed(1 << 63) / -1", -(1 << 63)), ("signed(signed(al))", -11),
    ],
)  # fmt: skip
def test_signed_numbers(text: str, expected: int) -> None:
    """signed() takes its sign from the size of what is in it, and carries over."""
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "missing"),
        ("rax ==", 7, "expected a value, found the end"),
        ("rax == 3 andd 5", 10, "expected an operator"),
        ("(1 + 2", 7, "expected ')', found the end"),
        ("1 + [rdi", 9, "expected ']'"),
        ("[rdi]:3", 7, "a size is 1, 2, 4 or 8"),
        ("rax = 3", 5, "'=' changes nothing"),
        ("1 < 2 < 3", 7, "a comparison of a comparison"),
        ("1 + 0x", 5, "no number"),
        ("0x1_0000_0000_0000_0000", 1, "more than 64 bits"),
        ("1 + 'ab'", 5, "not one character"),
        ("1 + '", 5, "never closed"),
        ('"text"', 1, "means nothing"),
        ("rax ; 1", 5, "means nothing"),
        ("1 + foo", 5, "no label, register or counter"),
        ("1 + Buffer", 5, "no label"),
        ("1 + exits.nmio", 5, "no exits.nmio"),
        ("$rxa", 1, "no register"),
        ("4 / (2 - 2)", 3, "division by zero"),
        ("4 % 0", 3, "division by zero"),
        ("1 + u32[0xfe]", 5, "no memory at 0xfe"),
        ("byte rax", 6, "expected '['"),
        ("and 1", 1, "expected a value"),
        ("1" + " + 1" * 124, 479, "too many operators"),
        ("(" * 100 + "1", 65, "too many parts within one another"),
        ("1" * 501, 501, "longer than 500"),
    ],
)
def test_errors_say_where(text: str, column: int, words: str) -> None:
    found = error(text)
    assert (found.column, words in found.what) == (column, True), found.what
    assert "\n" not in str(found)
    assert f"column {column}: " in str(found)


def test_errors_suggest_a_name() -> None:
    assert error("Buffer").hint == "did you mean buffer?"
    assert error("rax adn 1").hint == "did you mean and?"
    assert error("$raxx").hint == "did you mean rax?"


def test_a_name_that_nothing_has_is_found_without_evaluating() -> None:
    parse("u8[0xffff] == 1 / 0 or buffer").check(Some())
    with pytest.raises(ExpressionError) as caught:
        parse("0 and bufer").check(Some())
    assert caught.value.column == 7


def test_what_has_no_value_yet_is_not_true() -> None:
    assert parse("rdi == 16").holds(Some())
    assert not parse("u8[0xffff] == 0").holds(Some())
    assert not parse("1 / (rdi - 16)").holds(Some())
    with pytest.raises(ExpressionError):
        parse("bufer == 0").holds(Some())


@pytest.mark.parametrize(
    ("text", "registers", "is_constant"),
    [
        ("al + zf", {"rax", "rflags"}, False),
        ("r8d == buffer", {"r8"}, False),
        ("buffer + 4", set(), True),
        ("main.loop", set(), True),
        ("&events", set(), True),
        ("u8[buffer]", set(), False),
        ("exits.mmio > 2", set(), False),
        ("virtio_net.Status", set(), False),
        ("instructions", set(), False),
    ],
)
def test_what_a_value_depends_on(text: str, registers: set[str], is_constant: bool) -> None:
    expression = parse(text)
    assert expression.uses.registers == registers
    assert expression.is_constant(Some()) is is_constant


# Any text ---------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["rax", "eax", "zf", "$rip", "buffer", "exits.mmio", "foo", ".", "..", "signed", "u8", "[", "]",
     "(", ")", ":", "4", "0x", "0xff", "1K", "'a'", "'", "==", "=", "<", "<<", "and", "or", "not",
     "!", "~", "-", "&", "&&", "|", "/", "%", "byte", "ptr", "\n", "\0", "é"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=30).map(" ".join)))
def test_any_text_has_a_value_or_one_kind_of_error(text: str) -> None:
    failed = None
    try:
        assert -(1 << 63) <= value(text) <= WORD
    except ExpressionError as caught:
        failed = caught
    if failed is not None:
        assert 1 <= failed.column <= len(text) + 1
        assert failed.what
        assert "\n" not in str(failed)


# Against Python ---------------------------------------------------------------------------

LEAVES = st.one_of(
    st.integers(0, WORD),
    st.sampled_from([0, 1, 2, 63, 64, 1 << 31, 1 << 63, WORD]),
)
BINARY = ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "==", "!=", "<", ">=", "and", "or")


def _trees(inner):
    return st.one_of(
        st.tuples(st.sampled_from(BINARY), inner, inner),
        st.tuples(st.sampled_from(("-", "~", "not")), inner),
    )


TREES = st.recursive(LEAVES, _trees, max_leaves=12)
TWO = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "/": lambda a, b: a // b, "%": lambda a, b: a % b, "&": lambda a, b: a & b,
    "|": lambda a, b: a | b, "^": lambda a, b: a ^ b, ">>": lambda a, b: a >> min(b, 99),
    "<<": lambda a, b: a << b if b < 64 else 0, "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b, "<": lambda a, b: a < b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def oracle(tree) -> int:
    """The value by Python's own numbers."""
    if isinstance(tree, int):
        return tree
    if tree[0] == "and":
        return int(bool(oracle(tree[1]) and oracle(tree[2])))
    if tree[0] == "or":
        return int(bool(oracle(tree[1]) or oracle(tree[2])))
    if tree[0] == "not":
        return int(not oracle(tree[1]))
    if len(tree) == 2:
        inner = oracle(tree[1])
        return (-inner if tree[0] == "-" else ~inner) & WORD
    return int(TWO[tree[0]](oracle(tree[1]), oracle(tree[2]))) & WORD


def written(tree) -> str:
    if isinstance(tree, int):
        return hex(tree) if tree % 2 else str(tree)
    if len(tree) == 2:
        return f"({tree[0]} {written(tree[1])})"
    return f"({written(tree[1])} {tree[0]} {written(tree[2])})"


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_arithmetic_agrees_with_pythons(tree) -> None:
    try:
        expected = oracle(tree)
    except ZeroDivisionError:
        assert error(written(tree)).what == "division by zero"
    else:
        assert value(written(tree)) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["+", "-", "*", "&", "|", "^", "and", "or"]),
                          st.integers(0, 99)), min_size=1, max_size=12))  # fmt: skip
def test_precedence_is_pythons(chain) -> None:
    text = "7" + "".join(f" {sign} {number}" for sign, number in chain)
    logic = any(sign in ("and", "or") for sign, _ in chain)
    expected = eval(text) & WORD  # digits and operators only, made right here
    assert (bool(value(text)) == bool(expected)) if logic else (value(text) == expected)
