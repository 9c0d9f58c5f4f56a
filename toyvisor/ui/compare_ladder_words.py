"""What each rung of the ladder changes, in sentences made from the numbers.

Every sentence must be true for any experiment, as in `compare_words`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.learn.setups import Rung
from toyvisor.ui.compare_ladder import sections
from toyvisor.ui.figures import figure, listed

_NOUNS = {
    "exits": "exits",
    "userspace_returns": "returns to QEMU",
    "context_switches": "context switches",
    "interrupts": "interrupts",
    "suppressed": "suppressed notifications",
    "copies": "copies",
    "bytes_copied": "copied bytes",
    "syscalls": "system calls",
}


class Step(NamedTuple):
    """Two rows that differ by one rung, and in which pattern and batch."""

    where: str
    lower: Row
    upper: Row


def climbed(experiment: Experiment) -> dict[Rung, list[Step]]:
    """The steps by the rung they lead to."""
    found: dict[Rung, list[Step]] = {}
    for section in sections(experiment):
        for batch, climb in section.climbs:
            where = str(section.pattern) + (f" (batch {batch})" if batch is not None else "")
            for lower, upper in pairwise(climb.rows):
                assert upper.setup.rung is not None
                found.setdefault(upper.setup.rung, []).append(Step(where, lower, upper))
    return found


def rung_findings(experiment: Experiment) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """For each rung its title, what it is, and what it changed where."""
    for rung, steps in climbed(experiment).items():
        changed = {step.where: _changes(step, rung) for step in steps}
        sentences = [f"{_begin(where)}: {what}." for where, what in changed.items() if what]
        same = [where for where, what in changed.items() if not what]
        if same:
            nouns = listed([_NOUNS[name] for name in rung.watches])
            sentences.append(f"No change, or hardly any, in {nouns}: {listed(same)}.")
        yield rung.title, rung.isolates, tuple(sentences)


def _changes(step: Step, rung: Rung) -> str:
    """The rung's quantities before and after; those that look the same are left out."""
    parts = []
    for name in rung.watches:
        before, after = (figure(row.per_packet(name)) for row in (step.lower, step.upper))
        if before != after:
            parts.append(f"{_NOUNS[name]} {before} -> {after}")
    return ", ".join(parts)


def _begin(text: str) -> str:
    return text[0].upper() + text[1:]


def one_processor(experiment: Experiment) -> str:
    """What the context switches stand for."""
    switches = sum(row.sending.context_switches for row in experiment.ladder.rows)
    return (
        "The host of these runs has one processor. While QEMU's main loop or vhost's worker is at "
        "work the guest stands still, and every change between them is a context switch: "
        f"{figure(switches)} in all these runs. On a host with a processor for each, a kick that "
        "is handed on costs a wake-up, and the guest goes on meanwhile; neither that gain is in "
        "these figures, nor what it costs when processors take each other's cache lines."
    )


INTERRUPTS = (
    "How dear an interrupt is depends on what brings it. With virtio-mmio and 8259s, as here, the "
    "handler reads InterruptStatus, acknowledges it and sends an EOI, each by an exit. Virtio "
    "over PCI with MSI-X has no need of the first two, and processors with virtual interrupt "
    "delivery do the third without an exit. Nor does anybody here wait on purpose, so that more "
    "packets share an interrupt."
)
