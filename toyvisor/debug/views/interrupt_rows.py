"""Interrupt controllers, timer and vectors as data."""

from __future__ import annotations

from typing import NamedTuple


class ChipView(NamedTuple):
    """One 8259. The registers have a bit for each of its eight inputs."""

    name: str
    irr: int
    imr: int
    isr: int
    elcr: int
    vector_base: int
    is_initialized: bool
    waits_for: str
    modes: str
    highest: int


class LineRow(NamedTuple):
    """One interrupt line. `why_not`: what in the controllers is in its way; or nothing."""

    irq: int
    device: str
    level: int
    is_requested: bool
    is_masked: bool
    is_in_service: bool
    vector: int
    trigger: str
    why_not: str


class PitChannel(NamedTuple):
    """One counter of the 8254. `mode` None: it has none since the reset."""

    number: int
    purpose: str
    mode: int | None
    mode_name: str
    count: int  # type: ignore[assignment]  # the name of tuple's method, too
    now: int
    out: int
    gate: int


class PitView(NamedTuple):
    """The 8254. Times in guest instructions; None: no interrupt is to come."""

    channels: tuple[PitChannel, ...]
    next_expiry: int | None
    in_instructions: int | None
    period: int
    pending: int
    reinject: bool


class VectorRow(NamedTuple):
    """A gate of the IDT, or an entry of the IVT. `problem`: why nothing could be delivered."""

    vector: int
    name: str
    handler: int
    label: str
    type: str
    dpl: int
    selector: int
    ist: int
    problem: str


class InterruptsView(NamedTuple):
    """All that decides about interrupts. `intr`: the wire from the controllers to the processor."""

    has_controllers: bool
    chips: tuple[ChipView, ...]
    lines: tuple[LineRow, ...]
    intr: int
    pit: PitView | None
    interrupts_enabled: bool
    in_shadow: bool
    asleep: bool
    table: str
    table_base: int
    table_limit: int
    vectors: tuple[VectorRow, ...]
    injecting: str
