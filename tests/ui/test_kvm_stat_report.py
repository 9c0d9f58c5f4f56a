"""The table of `perf kvm stat report`."""

from __future__ import annotations

import re

from toyvisor.learn.kvm_stat import ExitTimes
from toyvisor.ui.kvm_stat import kvm_stat_lines


def row(reason: str, *cycles: float) -> ExitTimes:
    made = ExitTimes(reason)
    for one in cycles:
        made.add(one)
    return made


def report(*rows: ExitTimes) -> list[str]:
    return "".join(kvm_stat_lines(rows)).splitlines()


def test_the_report():
    lines = report(row("EPT_MISCONFIG", 3000, 9000, 6000), row("HLT", 6000))
    start = lines.index("Analyze events for all VMs, all VCPUs:")
    assert lines[start + 1 :] == [
        "",
        "             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time"
        "         Avg time",
        "",
        "       EPT_MISCONFIG          3    75.00%    75.00%      1.00us      3.00us"
        "      2.00us ( +-  28.87% )",
        "                 HLT          1    25.00%    25.00%      2.00us      2.00us"
        "      2.00us ( +-   0.00% )",
        "",
        "Total Samples:4, Total events handled time:8.00us.",
    ]


def test_what_the_times_are_stands_above_them():
    about = [line for line in report(row("HLT", 1)) if line.startswith("#")]
    assert re.search("counted.*estimate, not measured", " ".join(about))


def test_a_stream_without_exits():
    lines = report()
    assert lines[0] == "# There is no vm_exit in this stream. With Linux's KVM, Toyvisor sees " \
        "only what comes back"  # fmt: skip
    assert lines[-1] == "Total Samples:0, Total events handled time:0.00us."


def test_a_table_of_free_things():
    assert "0.00%" in report(row("HLT", 0.0))[-3]
