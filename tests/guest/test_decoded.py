"""Instructions with their operands: what is read, what is written, at which address."""

from __future__ import annotations

import pytest

from toyvisor.guest.decoded import Operand, OperandKind, decode
from toyvisor.modes import CpuMode

LONG = CpuMode.LONG


def operands(code: str, mode: CpuMode = LONG) -> tuple[Operand, ...]:
    found = decode(bytes.fromhex(code), 0x1000, mode)
    assert found is not None
    return found.operands


def test_a_store() -> None:
    target, source = operands("c7477001000000")  # mov dword ptr [rdi + 0x70], 1
    assert (target.kind, target.base, target.value, target.size) == (
        OperandKind.MEMORY, "rdi", 0x70, 4,
    )  # fmt: skip
    assert (target.is_read, target.is_written) == (False, True)
    assert (source.kind, source.value) == (OperandKind.IMMEDIATE, 1)


def test_an_address_of_many_parts() -> None:
    (_, source) = operands("8b84b710000000")  # mov eax, [rdi + rsi*4 + 0x10]
    assert (source.base, source.index, source.scale, source.value) == ("rdi", "rsi", 4, 0x10)


def test_read_and_written() -> None:
    target, _ = operands("0107")  # add [rdi], eax
    assert (target.is_read, target.is_written) == (True, True)


@pytest.mark.parametrize(
    ("code", "mnemonic", "repeat", "is_locked"),
    [
        ("f3a4", "movsb", "rep", False),
        ("f2ae", "scasb", "repne", False),
        ("f00fc107", "xadd", "", True),
        ("f390", "pause", "", False),
        ("f3480f2ac0", "cvtsi2ss", "", False),
    ],
)
def test_prefixes(code: str, mnemonic: str, repeat: str, is_locked: bool) -> None:
    found = decode(bytes.fromhex(code), 0, LONG)
    assert found is not None
    assert (found.mnemonic, found.repeat, found.is_locked) == (mnemonic, repeat, is_locked)


def test_the_mode_decides_about_widths() -> None:
    assert [operands("8b07", mode)[1].base for mode in CpuMode] == ["bx", "edi", "rdi"]
    real = decode(b"\xa4", 0, CpuMode.REAL)
    assert real is not None
    assert real.address_bits == 16
    assert real.operands[0].segment == "es"


def test_what_is_no_instruction() -> None:
    assert decode(b"\x06", 0, LONG) is None
    assert decode(b"\xe8\x00", 0, LONG) is None  # cut off
