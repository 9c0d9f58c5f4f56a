"""What the experiment's numbers say, in sentences made from them, and what they do not say.

Every sentence must be true for any experiment: for one packet, for frames that are all
header, for a cost table that makes everything free.
"""

from __future__ import annotations

from dataclasses import dataclass

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.learn.setups import FULL, PARA
from toyvisor.ui.figures import against, counted, figure, listed, percent


@dataclass(frozen=True, slots=True)
class Contrast:
    """The rows the sentences are about, of one packet size.

    `full` is full virtualization; `para` and `batched` para-virtualization with the smallest
    and the largest batch (the same row if there is one batch only).
    """

    full: Row
    para: Row
    batched: Row


def contrast(experiment: Experiment, size: int) -> Contrast | None:
    """The rows to contrast, or None if the experiment has not both kinds."""
    rows = experiment.of_size(size)
    full = [row for row in rows if row.setup.kind == FULL]
    para = sorted((row for row in rows if row.setup.kind == PARA), key=lambda row: row.batch or 1)
    return Contrast(full[0], para[0], para[-1]) if full and para else None


def what_it_shows(experiment: Experiment) -> list[str]:
    """Paragraphs made from the numbers; the largest packets are the example."""
    example = contrast(experiment, max(experiment.sizes))
    if example is None:
        return []
    paragraphs = [
        _exits(example),
        _growth(experiment),
        _copies(example),
        _batches(experiment, example),
        _cycles(example),
        _shares(example),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def what_it_does_not_show(experiment: Experiment) -> list[str]:
    """The limits of the experiment, so that nobody takes from it what is not in it."""
    return [
        "Other emulated cards. That every byte goes through registers is a property of this "
        "card. A card with DMA, like the e1000, fetches frames from RAM itself, as virtio does; "
        "there is none in this comparison yet.",
        "How much faster virtio is in practice. Published ratios of emulated cards to virtio go "
        "from 5 to 77. Two theses of the Technion (MSC-2017-19, MSC-2021-19) removed flaws of "
        "drivers and device models that have nothing to do with virtualization, and were left "
        "with 1.2 to 2.2 for the e1000.",
        f"Receiving, and interrupts: {_interrupts(experiment)}.",
        f"A cheaper doorbell: {_doorbell(experiment)}.",
        "Time. The cycles are an estimate: counts of these runs times the figures of the cost "
        "table, which others measured on other machines, or which are assumed. Expect no more "
        "than the order of magnitude. What the host's network does behind writev(), which is "
        "the same for all, caches and locks are not in it. Put in your own: --costs FILE.",
    ]


def _exits(rows: Contrast) -> str:
    full, para = rows.full, rows.para
    return (
        f"Exits. A packet of {full.size} bytes costs "
        f"{counted(full.per_packet('exits'), 'exit')} with {full.label}: {full.setup.why}. "
        f"It costs {figure(para.per_packet('exits'))} with {para.label}: {para.setup.why}."
    )


def _growth(experiment: Experiment) -> str | None:
    """How exits follow the packet size, from the smallest to the largest."""
    small = contrast(experiment, min(experiment.sizes))
    large = contrast(experiment, max(experiment.sizes))
    if small is None or large is None or len(experiment.sizes) < 2:
        return None
    parts = [
        f"{low.label} {_change(low, high)}"
        for low, high in ((small.full, large.full), (small.para, large.para))
    ]
    return f"Size. From {small.full.size} to {large.full.size} bytes, {' and '.join(parts)}."


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
        f"{figure(row.copied_per_byte)} times with {row.label} ({_by_hop(row)})"
        for row in (rows.full, rows.para)
    ]
    return (
        f"Copies. Bytes copied for each byte of the frame: {' and '.join(parts)}. "
        "The copy into the host's kernel is qemu->host."
    )


def _by_hop(row: Row) -> str:
    hops = [f"{hop} {figure(size / row.packets)}" for hop, (_, size) in row.hops.items() if size]
    return f"bytes: {', '.join(hops)}" if hops else "nothing"


def _batches(experiment: Experiment, rows: Contrast) -> str | None:
    para, batched = rows.para, rows.batched
    if para is batched or batched.batch is None:
        return None
    exits = batched.per_packet("exits")
    text = f"Batches. With {batched.label}, a packet costs {counted(exits, 'exit')}"
    if 0 < exits < 1:
        text += f" (one for every {figure(1 / exits)} packets)"
    text += (
        f" and {figure(batched.per_packet('instructions'))} guest instructions; "
        f"with {para.label}, {figure(para.per_packet('exits'))} "
        f"and {figure(para.per_packet('instructions'))}."
    )
    unfilled = [str(b) for b in experiment.batches if b > experiment.packets]
    if unfilled:
        text += (
            f" There were only {counted(experiment.packets, 'packet')}, "
            f"too few to fill a batch of {listed(unfilled)}."
        )
    return text


def _cycles(rows: Contrast) -> str:
    full, para, batched = rows.full, rows.para, rows.batched
    text = (
        f"Cost. By the cost table, a packet of {full.size} bytes comes to about "
        f"{counted(full.cycles, 'cycle')} with {full.label} and {figure(para.cycles)} with "
        f"{para.label}, {against(para.cycles, full.cycles)}"
    )
    if batched is not para:
        text += (
            f"; with {batched.label}, {figure(batched.cycles)}, "
            f"{against(batched.cycles, full.cycles)}"
        )
    return text + ". An estimate."


def _shares(rows: Contrast) -> str | None:
    """Which hop the cost comes from, and what is left when batches have taken the exits."""
    shown = [rows.full, rows.para]
    if rows.batched is not rows.para:
        shown.append(rows.batched)
    if not all(row.cycles for row in shown):
        return None
    parts = [f"{row.label}: {_largest_shares(row)}" for row in shown]
    text = f"Where it goes. {'; '.join(parts)}."
    before, after = _largest(rows.para), _largest(rows.batched)
    if before != after:
        text += f" Batches take away {before}; what is left is mostly {after}."
    return text


def _largest(row: Row) -> str:
    fractions = row.estimate.fractions()
    return max(fractions, key=lambda name: fractions[name])


def _largest_shares(row: Row) -> str:
    """The share of the exits, and the largest one if that is another."""
    fractions = row.estimate.fractions()
    largest = _largest(row)
    text = f"{percent(fractions['exits'])} exits"
    return text if largest == "exits" else f"{text}, {percent(fractions[largest])} {largest}"


def _interrupts(experiment: Experiment) -> str:
    injected = sum(row.sending.interrupts for row in experiment.rows)
    if not injected:
        return "the packets go one way, and no run had an interrupt; the drivers look themselves"
    return f"the packets go one way ({counted(injected, 'interrupt')} in all runs together)"


def _doorbell(experiment: Experiment) -> str:
    lightweight = sum(row.sending.lightweight_exits for row in experiment.rows)
    if not lightweight:
        return (
            "here every exit of every run goes all the way to QEMU; with an ioeventfd the kick "
            "ends in KVM, and with vhost the packet does not pass QEMU at all"
        )
    return (
        f"{counted(lightweight, 'exit')} of all runs ended in KVM; with vhost the packet does "
        "not pass QEMU at all"
    )
