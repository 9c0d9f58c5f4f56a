"""The experiment for other programs: JSON and CSV, with names that stay."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from toyvisor.learn.cost_model import ENTRIES, SHARES
from toyvisor.learn.counts import COUNTED
from toyvisor.learn.experiment import LADDER_METHOD, METHOD, Experiment, Row
from toyvisor.ui.compare_words import Finding, what_it_does_not_show, what_it_shows

#: Per-packet columns of the CSV: all that is counted, by its name in `Counts`.
_PER_PACKET = tuple(name for name in COUNTED if name != "ring_bytes")

#: Raised when a name in the JSON changes its meaning or goes. 2: there are rows of several
#: patterns, and of two parts.
FORMAT = 2

#: The two parts of the experiment, in `rows`: drivers that look themselves, and the ladder.
SIZES, LADDER = "sizes", "ladder"


def to_json(experiment: Experiment) -> dict[str, Any]:
    """One object: what was asked, the cost table used, every row, and the findings.

    Counts of `set_up` and `sending` are whole numbers of a whole run; `per_packet` and
    `estimate` are for one packet, the latter in cycles.
    """
    found: dict[str, Any] = {
        "experiment": "compare",
        "format": FORMAT,
        "packets": experiment.packets,
        "patterns": [str(pattern) for pattern in experiment.patterns],
        "sizes": list(experiment.sizes),
        "batches": list(experiment.batches),
        "method": f"{METHOD} On the ladder: {LADDER_METHOD}",
        "costs": {
            entry.key: {
                "cycles": experiment.costs[entry.key].cycles,
                "meaning": entry.meaning,
                "times": entry.quantity,
                "share": entry.share,
                "basis": experiment.costs[entry.key].basis,
                "source": experiment.costs[entry.key].source,
            }
            for entry in ENTRIES
        },
        "rows": [_row(row) for row in experiment.rows],
        "shows": _findings(what_it_shows(experiment)),
        "does_not_show": _findings(what_it_does_not_show(experiment)),
    }
    if experiment.machine:
        found |= {"machine": experiment.machine, "gigahertz": experiment.gigahertz}
    return found


def _row(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "pattern": str(row.setup.pattern),
        "part": _part(row),
        "setup": row.setup.name,
        "kind": row.setup.kind,
        "program": row.setup.program,
        "size": row.size,
        "batch": row.batch,
        "set_up": row.set_up.to_json(),
        "sending": row.sending.to_json(),
        "hops": {hop: {"count": n, "bytes": size} for hop, (n, size) in row.hops.items()},
        "per_packet": {
            **{name: row.per_packet(name) for name in COUNTED},
            "ring_accesses": row.per_packet("ring_accesses"),
        },
        "copied_per_byte": row.copied_per_byte,
        "estimate": {
            "cycles": row.cycles,
            "by_cost": dict(row.estimate.by_entry),
            "by_share": row.estimate.by_share(),
            "fractions": row.estimate.fractions(),
        },
    }
    if row.measured is not None:
        found["measured"] = row.measured.to_json()
    return found


def _part(row: Row) -> str:
    return SIZES if row.setup.rung is None else LADDER


def _findings(findings: list[Finding]) -> list[dict[str, str]]:
    return [{"title": finding.title, "text": finding.text} for finding in findings]


def _per_packet(name: str) -> Callable[[Row], object]:
    return lambda row: row.per_packet(name)


def _share(name: str) -> Callable[[Row], object]:
    return lambda row: row.estimate.fractions()[name]


def _measured(row: Row, name: str) -> object:
    return "" if row.measured is None else getattr(row.measured, name)


_COLUMNS: dict[str, Callable[[Row], object]] = {
    "setup": lambda row: row.setup.name,
    "size": lambda row: row.size,
    "batch": lambda row: "" if row.batch is None else row.batch,
    "packets": lambda row: row.packets,
    **{f"{name}_per_packet": _per_packet(name) for name in _PER_PACKET},
    "copied_per_byte": lambda row: row.copied_per_byte,
    "estimated_cycles_per_packet": lambda row: row.cycles,
    **{f"{name.replace(' ', '_')}_share": _share(name) for name in SHARES},
    "set_up_exits": lambda row: row.set_up.exits,
    "set_up_instructions": lambda row: row.set_up.instructions,
    "pattern": lambda row: str(row.setup.pattern),
    "part": _part,
    "program": lambda row: row.setup.program,
    "measured_ns_per_packet": lambda row: _measured(row, "cpu_ns"),
    "measured_kvm_run_ns_per_packet": lambda row: _measured(row, "kvm_run_ns"),
    "measured_userspace_returns_per_packet": lambda row: _measured(row, "userspace_returns"),
}

CSV_COLUMNS: tuple[str, ...] = tuple(_COLUMNS)


def to_csv(experiment: Experiment) -> str:
    """A line of names, then one line for each row (batch empty: has none).

    Shares are parts of 1 of the estimated cycles. Lines end with a single newline.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows([cell(row) for cell in _COLUMNS.values()] for row in experiment.rows)
    return text.getvalue()
