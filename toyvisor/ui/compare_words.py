"""What the experiment's numbers say, in sentences made from them, and what they do not say.

Every sentence must be true for any experiment: for one packet, for frames that are all
header, for a cost table that makes everything free.
"""

from __future__ import annotations

from dataclasses import dataclass

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.learn.setups import FULL, MMIO_NIC, PARA
from toyvisor.ui.compare_ladder_words import INTERRUPTS, one_processor, rung_findings
from toyvisor.ui.figures import against, counted, figure, listed, microseconds, percent, rough


@dataclass(frozen=True, slots=True)
class Finding:
    """One paragraph: what it is about, the sentences, and some that stand on their own."""

    title: str
    lead: str
    items: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join((self.lead, *self.items))


@dataclass(frozen=True, slots=True)
class Contrast:
    """The rows the sentences are about, of one packet size.

    `full` is full virtualization; `para` and `batched` para-virtualization with the smallest
    and the largest batch (the same row if there is one batch only).
    """

    full: Row
    para: Row
    batched: Row

    @property
    def rows(self) -> list[Row]:
        """The rows, each once."""
        rows = [self.full, self.para, self.batched]
        return rows[:2] if self.para is self.batched else rows


def contrast(experiment: Experiment, size: int) -> Contrast | None:
    """The rows to contrast, or None if the experiment has not both kinds."""
    rows = experiment.of_size(size)
    full = [row for row in rows if row.setup.kind == FULL]
    para = [row for row in rows if row.setup.kind == PARA]
    para = sorted((r for r in para if r.setup == para[0].setup), key=lambda row: row.batch or 1)
    return Contrast(full[0], para[0], para[-1]) if full and para else None


def what_it_shows(experiment: Experiment) -> list[Finding]:
    """Paragraphs made from the numbers; the largest packets are the example."""
    looking = experiment.looking
    example = contrast(looking, max(experiment.sizes))
    paragraphs: dict[str, str | None] = {}
    if example is not None:
        paragraphs = {
            "Exits": _exits(example),
            "Size": _growth(looking),
            "Copies": _copies(example),
            "Batches": _batches(looking, example) or _unfilled(looking),
            "Cost": _cycles(example),
            "Where it goes": _shares(example),
            "Measured": _measured(example),
        }
    elif _batches_apply(experiment):
        paragraphs["Batches"] = _unfilled(experiment)
    findings = [Finding(title, text) for title, text in paragraphs.items() if text]
    return findings + [Finding(*one) for one in rung_findings(experiment)]


def what_it_does_not_show(experiment: Experiment) -> list[Finding]:
    """The limits of the experiment, so that nobody takes from it what is not in it."""
    if experiment.ladder.rows:
        limits = [
            Finding("More than one processor", one_processor(experiment)),
            Finding("Other interrupts", INTERRUPTS),
        ]
    else:
        limits = [
            Finding("Receiving, and interrupts", _interrupts(experiment)),
            Finding("A cheaper doorbell", _doorbell(experiment)),
        ]
    return [
        Finding("Other emulated cards", _other_cards(experiment)),
        Finding(
            "How much faster virtio is in practice",
            "Published ratios of emulated cards to virtio go from 5 to 77. Two theses of the "
            "Technion (MSC-2017-19, MSC-2021-19) removed flaws of drivers and device models "
            "that have nothing to do with virtualization, and came to 1.2 to 2.2 for the e1000.",
        ),
        *limits,
        Finding("Time", _MEASURED_TIME if experiment.machine else _TIME),
    ]


_TIME = (
    "Cycles are an estimate: the counts of these runs times the cost table, whose figures others "
    "measured on other machines, or which are assumed. Expect the order of magnitude, no more. "
    "Not in it are locks, most cache misses, and what the host's network does behind writev(). "
    "Put in your own figures with --costs FILE."
)
_MEASURED_TIME = (
    "Cycles are an estimate: the counts of these runs times the cost table. Not in it are locks, "
    "most cache misses, and what the host's network does behind writev(). What was measured is "
    "true of this machine, and of a QEMU in Python, which makes each return to it dearer than C "
    "would; the two threads of the host have one interpreter between them."
)


def _batches_apply(experiment: Experiment) -> bool:
    return any(row.batch is not None for row in experiment.rows)


def _name(row: Row) -> str:
    """The row in a sentence: "virtio-net (batch 8)"."""
    return row.setup.name if row.batch is None else f"{row.setup.name} (batch {row.batch})"


def _exits(rows: Contrast) -> str:
    full, para = rows.full, rows.para
    return (
        f"Sending {full.size} bytes costs {counted(full.per_packet('exits'), 'exit')} by "
        f"{full.setup.kind} and {figure(para.per_packet('exits'))} by {para.setup.kind}. "
        f"{_name(full)}: {full.setup.why}. {_name(para)}: {para.setup.why}."
    )


def _growth(experiment: Experiment) -> str | None:
    """How exits follow the packet size, from the smallest to the largest."""
    small = contrast(experiment, min(experiment.sizes))
    large = contrast(experiment, max(experiment.sizes))
    if small is None or large is None or len(experiment.sizes) < 2:
        return None
    parts = [
        f"{_name(low)} {_change(low, high)}"
        for low, high in ((small.full, large.full), (small.para, large.para))
    ]
    return f"From {small.full.size} to {large.full.size} bytes, {'; '.join(parts)}."


def _change(low: Row, high: Row) -> str:
    before, after = low.per_packet("exits"), high.per_packet("exits")
    if before == after:
        return f"stays at {counted(after, 'exit')}"
    text = f"goes from {figure(before)} to {counted(after, 'exit')}"
    if after > before:
        text += f", one more for every {figure((high.size - low.size) / (after - before))} bytes"
    return text


def _copies(rows: Contrast) -> str:
    parts = [
        f"{row.copied_per_byte:.2f} with {_name(row)}: {_by_hop(row)}"
        for row in (rows.full, rows.para)
    ]
    return (
        f"Bytes copied for each byte of the frame: {'; '.join(parts)}. "
        "qemu->host is the copy into the host's kernel."
    )


def _by_hop(row: Row) -> str:
    hops = [f"{figure(size / row.packets)} {hop}" for hop, (_, size) in row.hops.items() if size]
    return ", ".join(hops) or "nothing"


def _batches(experiment: Experiment, rows: Contrast) -> str | None:
    para, batched = rows.para, rows.batched
    if para is batched or batched.batch is None:
        return None
    exits = batched.per_packet("exits")
    text = f"With batch {batched.batch}, a packet costs {counted(exits, 'exit')}"
    if 0 < exits < 1:
        text += f", one for every {figure(1 / exits)} packets,"
    text += (
        f" and {counted(batched.per_packet('instructions'), 'guest instruction')}; "
        f"with batch {para.batch}, {counted(para.per_packet('exits'), 'exit')} "
        f"and {counted(para.per_packet('instructions'), 'instruction')}."
    )
    return " ".join(filter(None, (text, _unfilled(experiment))))


def _unfilled(experiment: Experiment) -> str | None:
    """A batch that there were too few packets for is not the batch it is called."""
    sizes = [str(batch) for batch in sorted(experiment.batches) if batch > experiment.packets]
    if not sizes:
        return None
    were = "was" if experiment.packets == 1 else "were"
    return (
        f"There {were} only {counted(experiment.packets, 'packet')}, too few to fill a batch "
        f"of {listed(sizes)}."
    )


def _cycles(rows: Contrast) -> str:
    full, para = rows.full, rows.para
    text = (
        f"By the cost table, sending {full.size} bytes comes to about {rough(full.cycles)} cycles "
        f"with {_name(full)}; with {_name(para)} {rough(para.cycles)}, "
        f"{against(para.cycles, full.cycles)}"
    )
    for row in rows.rows[2:]:
        text += f"; with {_name(row)} {rough(row.cycles)}, {against(row.cycles, full.cycles)}"
    return text + "."


def _shares(rows: Contrast) -> str | None:
    """Which hop the cost comes from, and what is left when batches have taken the exits."""
    if not all(row.cycles for row in rows.rows):
        return None
    parts = [f"{_name(row)}: {_largest_shares(row)}" for row in rows.rows]
    return f"{'; '.join(parts)}."


def _measured(rows: Contrast) -> str | None:
    """What Linux's KVM took, if it was asked; beside what was estimated."""
    times = [row.measured.cpu_ns for row in rows.rows if row.measured is not None]
    if len(times) != len(rows.rows) or min(times) <= 0:
        return None
    full, *others = zip(rows.rows, times, strict=True)
    text = (
        f"On this machine's own KVM, with QEMU in Python, sending {rows.full.size} bytes took "
        f"{microseconds(full[1])} us of the processor with {_name(full[0])}"
    )
    for row, taken in others:
        text += f"; with {_name(row)} {microseconds(taken)}, {against(taken, full[1])}"
    return text + "."


def _largest_shares(row: Row) -> str:
    """The two largest shares, and that of the exits."""
    fractions = row.estimate.fractions()
    order = sorted(fractions, key=lambda name: -fractions[name])
    names = [name for name in order[:2] if fractions[name] > 0]
    if "exits" not in names:
        names.append("exits")
    return ", ".join(f"{percent(fractions[name])} {name}" for name in names)


def _other_cards(experiment: Experiment) -> str:
    cards = dict.fromkeys(row.setup.name for row in experiment.rows if row.setup.kind == FULL)
    if list(cards) != [MMIO_NIC.name]:
        return "What is counted here is true of these cards and these drivers, not of all."
    return (
        "That every byte goes through registers is a property of this card. A card with DMA, "
        "like the e1000, fetches frames from RAM itself, as virtio does; it is not among "
        "these setups."
    )


def _interrupts(experiment: Experiment) -> str:
    injected = sum(row.sending.interrupts for row in experiment.rows)
    if not injected:
        return (
            "Packets go one way only, and no packet brought an interrupt: the drivers look at "
            "the device themselves."
        )
    return f"Packets go one way only. All runs had {counted(injected, 'interrupt')} together."


def _doorbell(experiment: Experiment) -> str:
    lightweight = sum(row.sending.lightweight_exits for row in experiment.rows)
    if not lightweight:
        return (
            "Here every exit goes all the way to QEMU. With an ioeventfd a kick ends in KVM, "
            "and with vhost a packet does not pass QEMU at all."
        )
    return (
        f"{counted(lightweight, 'exit')} of all runs ended in KVM. With vhost a packet does "
        "not pass QEMU at all."
    )
