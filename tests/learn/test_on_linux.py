"""The experiment on Linux's KVM: what is counted there is what the toy counts."""

from __future__ import annotations

import json

import pytest

from toyvisor.cli import main
from toyvisor.kvm import linux
from toyvisor.learn.experiment import Experiment, run_experiment
from toyvisor.learn.ladder import rungs
from toyvisor.learn.on_linux import Measured
from toyvisor.learn.setups import SETUPS, Pattern
from toyvisor.ui.compare_export import to_csv

pytestmark = pytest.mark.skipif(linux.why_not() is not None, reason=f"{linux.why_not()}")


@pytest.fixture(scope="module")
def looking() -> Experiment:
    """Drivers that look themselves: nothing in it depends on time."""
    return run_experiment(8, [64, 300], [1, 4], setups=SETUPS, on_linux=True)


def test_linux_returns_to_qemu_as_often_as_the_toy(looking: Experiment) -> None:
    for row in looking.rows:
        assert isinstance(row.measured, Measured)
        assert row.measured.userspace_returns == row.per_packet("userspace_returns")
    assert [row.per_packet("userspace_returns") for row in looking.rows] == [
        19, 1, 0.25, 78, 1, 0.25,
    ]  # fmt: skip


def test_linux_counts_no_fewer_exits_than_it_returns(looking: Experiment) -> None:
    for row in looking.rows:
        assert row.measured is not None
        if row.measured.exits is not None:
            assert row.measured.exits >= row.measured.userspace_returns


def test_more_registers_take_more_time(looking: Experiment) -> None:
    """Four times the exits of one KVM: whatever the machine, that shows."""
    small, large = (row.measured for row in looking.rows if row.setup.name == "mmio-nic")
    assert small is not None
    assert large is not None
    assert large.kvm_run_ns > small.kvm_run_ns > 0
    assert large.cpu_ns > large.kvm_run_ns
    assert large.lowest_ns <= large.cpu_ns <= large.highest_ns


def test_every_rung_passes_its_packets_on_linux_too() -> None:
    """measure_on_linux() raises unless exactly the frames given came through."""
    for pattern in Pattern:
        found = run_experiment(4, [64], [2], setups=rungs(pattern), on_linux=True)
        assert all(row.measured is not None for row in found.rows)
        with_vhost = next(row for row in found.rows if row.setup.name == "+ vhost")
        assert with_vhost.measured is not None
        # Only a look at InterruptStatus and its acknowledgement, once for an interrupt.
        assert with_vhost.measured.userspace_returns <= 2.5


def test_the_csv_has_the_measured_columns(looking: Experiment) -> None:
    header, first, *_ = to_csv(looking).splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(cells["measured_ns_per_packet"]) > 0
    assert float(cells["measured_userspace_returns_per_packet"]) == 19


def test_the_screen_and_the_json_say_what_machine_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = ("--packets", "4", "--size", "64", "--batch", "1", "--pattern", "transmit")
    assert main(["compare", "--accel", "both", *wanted, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]
    assert found["gigahertz"] > 0
    assert all(row["measured"]["cpu_ns"] for row in found["rows"])
    assert found["costs"]["userspace_return"]["basis"] == "measured"
    assert "here" in found["costs"]["userspace_return"]["source"]
    assert main(["compare", "--accel", "both", *wanted]) == 0
    assert f"Measured: {found['machine'].split(',')[0]}" in capsys.readouterr().out
