"""What the explainers of instructions hand back, and what most of them have to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from toyvisor.debug.explanation import Idea
from toyvisor.debug.instruction_scene import Scene


class Words(NamedTuple):
    """What an instruction will do; and the idea, if it is more than the family's."""

    what: str
    idea: Idea | None = None


Explainer = Callable[[Scene], Words]

BY_ITSELF = (
    "The processor carries this out by itself, as fast as without virtualization: neither KVM nor "
    "QEMU hears of it."
)


def manual(name: str) -> str:
    """The page of an instruction in Intel's manual."""
    first = name[0].upper()
    volume = "2A" if first <= "L" else "2B" if first <= "U" else "2C" if first == "V" else "2D"
    return f"Intel SDM vol. {volume}, {name}"


def signed(value: int, size: int) -> int:
    """A number of `size` bytes as a signed one."""
    return value - (1 << 8 * size) if value >> 8 * size - 1 & 1 else value


def mask(size: int) -> int:
    """All bits of `size` bytes."""
    return (1 << 8 * size) - 1
