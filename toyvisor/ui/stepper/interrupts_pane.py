"""The interrupt controllers, the lines, the timer, and the table that the processor looks in."""

from __future__ import annotations

from toyvisor.debug.views.interrupts import ChipView, InterruptsView, LineRow, PitView, VectorRow
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, Target, changed, dim, row, strong, wrapped


class InterruptsPane(Pane):
    """From the device's line to the guest's handler, in the order that an interrupt goes."""

    heading = "interrupts"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """Lines, chips, processor, vectors, timer."""
        view, names = picture.machinery.interrupts, picture.changes.interrupts
        if view is None:
            return []
        rows = [_processor(view, names)]
        if view.injecting:
            rows += wrapped(f"! {view.injecting}", width, Role.CHANGED, indent="  ")
        if not view.has_controllers:
            rows.append(row(dim("this machine has no interrupt controllers (no pic)")))
        for number, chip in enumerate(view.chips):
            rows += _chip(chip, number, names, width)
        for line in view.lines:
            if line.device or line.is_requested or line.is_in_service:
                rows += _line(line, names, width)
        if view.pit is not None:
            rows += _pit(view.pit, names)
        return rows + _vectors(view, names)


def _processor(view: InterruptsView, names: frozenset[str]) -> Row:
    enabled = "IF=1: takes interrupts" if view.interrupts_enabled else "IF=0: takes none"
    mark = "*" if "IF" in names else ""
    more = [f"INTR {'up' if view.intr else 'down'}"]
    if view.in_shadow:
        more.append("in the shadow of STI or MOV SS")
    if view.asleep:
        more.append("asleep in HLT")
    return row(
        strong("processor "), changed(f"{enabled}{mark}", "IF" in names), f", {', '.join(more)}"
    )


def _chip(chip: ChipView, number: int, names: frozenset[str], width: int) -> list[Row]:
    spans = [strong(f"{chip.name:<7}")]
    for name in ("irr", "imr", "isr"):
        is_changed = f"{name}{number}" in names
        bits = f"{getattr(chip, name):08b}{'*' if is_changed else ' '}"
        spans += [dim(f"{name.upper()} "), changed(bits, is_changed), Span(" ")]
    told = []
    if not chip.is_initialized:
        told.append("not initialized" + (f", waits for {chip.waits_for}" if chip.waits_for else ""))
    else:
        told.append(f"vectors from {chip.vector_base:#x}")
    if chip.modes:
        told.append(chip.modes)
    words = ", ".join(told)
    if sum(len(span.text) for span in spans) + len(words) <= width:
        return [row(*spans, dim(words))]
    return [row(*spans), row(dim(f"       {words}"))]


def _line(line: LineRow, names: frozenset[str], width: int) -> list[Row]:
    is_changed = f"irq{line.irq}" in names
    state = " ".join(
        word
        for word, is_on in (
            ("requested", line.is_requested),
            ("masked", line.is_masked),
            ("in service", line.is_in_service),
        )
        if is_on
    )
    level = "▔up  " if line.level else "▁down"
    head = row(
        changed(f"IRQ {line.irq:<2}{'*' if is_changed else ' '}", is_changed),
        f" {line.device or '-':<11} ",
        Span(level, Role.STRONG if line.level else Role.DIM),
        dim(f" {line.vector:#04x} {line.trigger:<5} "),
        strong(state),
    )
    if not line.why_not or not (line.level or line.is_requested):
        return [head]
    return [head, *wrapped(f"       {line.why_not}", width, indent="       ")]


def _pit(pit: PitView, names: frozenset[str]) -> list[Row]:
    rows = []
    for channel in pit.channels:
        if channel.mode is None:
            continue
        is_changed = f"pit{channel.number}" in names
        text = (
            f"{channel.purpose}: mode {channel.mode} ({channel.mode_name}), counts "
            f"{channel.count:,}, stands at {channel.now:,}"
        )
        mark = "*" if is_changed else " "
        rows.append(row(strong(f"PIT {channel.number}{mark} "), changed(text, is_changed)))
    if pit.in_instructions is not None:
        rows.append(
            row(f"       next in {pit.in_instructions:,} instructions, every {pit.period:,}")
        )
    return rows


def _vectors(view: InterruptsView, names: frozenset[str]) -> list[Row]:
    heading = f"{view.table} at {view.table_base:#x}, limit {view.table_limit:#x}"
    rows = [row(strong(heading))]
    for vector in view.vectors:
        rows.append(_vector(vector, is_changed=f"vector{vector.vector}" in names))
    if not view.vectors:
        rows.append(row(dim("no vector is there: an interrupt would end in a triple fault")))
    return rows


def _vector(vector: VectorRow, *, is_changed: bool) -> Row:
    place = vector.label or f"{vector.handler:#x}"
    mark = "*" if is_changed else " "
    return row(
        changed(f"{vector.vector:02x}{mark}", is_changed),
        f" {vector.name} → {place} ",
        dim(f"{vector.type}{f', DPL {vector.dpl}' if vector.dpl else ''}"),
        Span(f" {vector.problem}" if vector.problem else "", Role.ERROR),
        target=Target("address", vector.handler),
    )
