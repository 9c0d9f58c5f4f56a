"""Exits by reason, in the form of `perf kvm stat report`.

Columns and formats: Linux, tools/perf/builtin-kvm.c, print_result().
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toyvisor.learn.kvm_stat import GIGAHERTZ, ExitTimes, microseconds

#: perf's decode_str_len for x86; newer ones have 40 (KVM_EVENT_NAME_LEN).
_NAME_WIDTH = 20
_HEAD = "%*s %10s %9s %9s %11s %11s %16s "
_ROW = "%*s %10d %8.2f%% %8.2f%% %9.2fus %9.2fus %9.2fus ( +-%7.2f%% )"
_TOTAL = "Total Samples:%d, Total events handled time:%.2fus."

_ABOUT = f"""\
# Samples were counted. Time is an estimate, not measured: each step from kvm_exit to
# kvm_entry by the cost table (toyvisor compare --print-costs), at {GIGAHERTZ:g} GHz. In it are
# neither the device's accesses to virtqueues nor the guest's sleep in HLT.
"""
_NO_EXITS = """\
# There is no vm_exit in this stream. With Linux's KVM, Toyvisor sees only what comes back
# to QEMU; the real `perf kvm stat` sees the rest.
"""


def kvm_stat_lines(rows: Sequence[ExitTimes]) -> Iterator[str]:
    """The report, a line or more at a time, with their newlines."""
    yield _ABOUT if rows else _NO_EXITS
    yield "\nAnalyze events for all VMs, all VCPUs:\n\n"
    names = "VM-EXIT", "Samples", "Samples%", "Time%", "Min Time", "Max Time", "Avg time"
    yield f"{(_HEAD % (_NAME_WIDTH, *names)).rstrip()}\n\n"
    samples = sum(row.samples for row in rows)
    time = sum(row.total for row in rows)
    for row in rows:
        shares = 100 * row.samples / samples, 100 * row.total / time if time else 0.0
        times = (microseconds(t) for t in (row.shortest, row.longest, row.mean))
        figures = (*shares, *times, row.relative_deviation)
        yield f"{_ROW % (_NAME_WIDTH, row.reason, row.samples, *figures)}\n"
    yield f"\n{_TOTAL % (samples, microseconds(time))}\n"
