"""A device's registers as data."""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.debug.views.register_places import BitsValue, bits_of, decode_bits
from toyvisor.qemu.devices.registers import Register


class RegisterRow(NamedTuple):
    """One register. `value` None: it can't be read, or is a buffer. `text` is the value in words.

    `key` is its name, with a number where a device has several of one name.
    """

    key: str
    name: str
    offset: int
    access: str
    width: int
    value: int | None
    text: str
    meaning: str
    bits: tuple[BitsValue, ...] = ()


class Fact(NamedTuple):
    """Something about a device that is in no single register."""

    name: str
    text: str


class DeviceView(NamedTuple):
    """One device. `level` is that of its interrupt line; None: it has none."""

    name: str
    type: str
    where: str
    base: int
    is_port: bool
    irq: int | None
    level: int | None
    registers: tuple[RegisterRow, ...]
    facts: tuple[Fact, ...]


def register_row(register: Register, value: int | None, text: str | None = None) -> RegisterRow:
    """The row of a register with a value; `text` if bits and digits do not say it all."""
    if text is None:
        text = _text(register, value)
    return RegisterRow(
        register.name, register.name, register.offset, register.access, register.width, value,
        text, register.meaning, bits_of(register.bits, value or 0),
    )  # fmt: skip


def _text(register: Register, value: int | None) -> str:
    if value is None:
        return "write-only" if register.access == "W" else ""
    digits = f"{value:#0{2 + 2 * register.width}x}" if register.width <= 8 else f"{value:#x}"
    names = decode_bits(register.bits, value)
    return f"{digits} {names}".rstrip()
