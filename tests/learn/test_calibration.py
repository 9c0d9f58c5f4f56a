"""`toyvisor calibrate`: costs measured on this machine, as a table that compare reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.cli import main
from toyvisor.kvm import linux
from toyvisor.learn.calibration import Calibration, Timed, calibrate
from toyvisor.learn.cost_file import read_costs, shipped_costs, to_toml
from toyvisor.learn.cost_model import KEYS, Cost

needs_kvm = pytest.mark.skipif(linux.why_not() is not None, reason=f"{linux.why_not()}")

TEXTS = st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters="\x7f"))


@given(st.dictionaries(st.sampled_from(KEYS), st.floats(0, 1e9), min_size=1), TEXTS)
def test_a_table_that_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cycles: dict[str, float], source: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "costs.toml"
    source = " ".join(source.split())
    costs = {key: Cost(value, "measured", source) for key, value in cycles.items()}
    path.write_text(to_toml(costs, "two\nlines"))
    found = read_costs(path)
    for key in KEYS:
        if key in costs:
            assert found[key].cycles == pytest.approx(costs[key].cycles, rel=1e-5)
            assert found[key].source == source or found[key].basis == "yours"
        else:
            assert found[key] == shipped_costs()[key]


def test_nanoseconds_become_cycles_by_the_rate_of_the_counter() -> None:
    found = Calibration({"vmexit": Timed(500.0, "an OUT")}, 2.5, "cpu", "kvm_intel", "6.1")
    assert found.costs() == {"vmexit": Cost(1250.0, "measured", "an OUT: 500 ns here")}
    assert found.machine == "cpu, Linux 6.1, kvm_intel"


@needs_kvm
def test_what_is_dear_is_measured() -> None:
    """What is small may be lost in the noise of a busy machine, and is left out then."""
    found = calibrate(0.3)
    assert {"guest_instruction", "userspace_return", "syscall"} <= set(found.times) <= set(KEYS)
    assert all(timed.nanoseconds > 0 for timed in found.times.values())
    assert 0.1 < found.gigahertz < 10
    # Out to userspace and back is more than the system call that it takes.
    assert found.times["userspace_return"].nanoseconds > found.times["syscall"].nanoseconds


@needs_kvm
def test_compare_takes_the_table_that_calibrate_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(tmp_path / "here.toml")
    assert main(["calibrate", "--seconds", "0.3", "-o", table]) == 0
    assert "userspace_return" in capsys.readouterr().out
    few = ("--packets", "2", "--size", "64", "--batch", "1", "--pattern", "transmit")
    assert main(["compare", "--costs", table, *few, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["costs"]["userspace_return"]
    assert found["basis"] == "measured"
    assert found["source"].endswith("ns here")


@needs_kvm
def test_json_has_times_and_cycles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--seconds", "0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cost = found["costs"]["userspace_return"]
    assert cost["cycles"] == pytest.approx(cost["nanoseconds"] * found["gigahertz"], rel=0.01)


def test_the_table_and_the_json_do_not_share_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["calibrate", "-o", "-", "--json"]) == 2
    assert "both want standard output" in capsys.readouterr().err
