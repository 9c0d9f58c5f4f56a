"""The experiment for other programs: JSON, CSV, SVG."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from compare_kit import make_experiment

from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.cost_model import KEYS, Cost, CostTable
from toyvisor.learn.counts import Counts
from toyvisor.learn.experiment import run_experiment
from toyvisor.learn.setups import MMIO_NIC
from toyvisor.ui.compare_export import CSV_COLUMNS, to_csv, to_json
from toyvisor.ui.compare_svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"
FREE = CostTable({key: Cost(0, "yours", "test") for key in KEYS})


@pytest.fixture(scope="module")
def experiment():
    return run_experiment(16, (64, 1500), (1, 8))


# JSON -----------------------------------------------------------------------------------------


def test_json_is_one_object_with_names_that_stay(experiment):
    found = json.loads(json.dumps(to_json(experiment), allow_nan=False))
    assert list(found) == [
        "experiment", "format", "packets", "patterns", "sizes", "batches", "method", "costs",
        "rows", "shows", "does_not_show",
    ]  # fmt: skip
    assert (found["experiment"], found["format"]) == ("compare", 2)
    assert (found["packets"], found["sizes"], found["batches"]) == (16, [64, 1500], [1, 8])
    assert found["patterns"] == ["transmit"]
    row = found["rows"][0]
    assert (row["pattern"], row["part"]) == ("transmit", "sizes")
    assert (row["setup"], row["kind"], row["program"]) == (
        "mmio-nic", "full virtualization", "mmio_nic_tx",
    )  # fmt: skip
    assert (row["size"], row["batch"]) == (64, None)
    assert (row["sending"]["exits"], row["per_packet"]["exits"]) == (16 * 19, 19)
    assert row["set_up"]["exits"] == 5
    assert row["hops"]["qemu->host"] == {"count": 16, "bytes": 1024}
    assert row["copied_per_byte"] == 3.375
    assert found["shows"][0]["title"] == "Exits"


def test_json_has_the_cost_table_that_was_used():
    mine = shipped_costs().changed({"vmexit": Cost(1300, "yours", "my.toml")})
    costs = to_json(make_experiment(costs=mine))["costs"]
    assert list(costs) == list(KEYS)
    assert costs["vmexit"]["cycles"] == 1300
    assert costs["vmexit"]["source"] == "my.toml"
    assert costs["syscall"] == {
        "cycles": 500, "meaning": "one system call of QEMU, without what it does",
        "times": "syscalls", "share": "system calls", "basis": "assumed",
        "source": mine["syscall"].source,
    }  # fmt: skip


def test_an_estimate_in_json_can_be_worked_out_from_its_counts_and_costs(experiment):
    found = to_json(experiment)
    for row in found["rows"]:
        total = sum(
            row["per_packet"][cost["times"]] * cost["cycles"] for cost in found["costs"].values()
        )
        assert row["estimate"]["cycles"] == pytest.approx(total)


# CSV ------------------------------------------------------------------------------------------


def test_csv_has_a_line_for_each_row_and_names_that_stay(experiment):
    rows = list(csv.DictReader(io.StringIO(to_csv(experiment))))
    assert len(rows) == 6
    assert CSV_COLUMNS == (
        "setup", "size", "batch", "packets", "instructions_per_packet", "exits_per_packet",
        "mmio_exits_per_packet", "userspace_returns_per_packet", "lightweight_exits_per_packet",
        "copies_per_packet", "bytes_copied_per_packet", "syscalls_per_packet",
        "ring_reads_per_packet", "ring_writes_per_packet", "interrupts_per_packet",
        "suppressed_per_packet", "context_switches_per_packet", "timer_exits_per_packet",
        "copied_per_byte", "estimated_cycles_per_packet", "exits_share", "system_calls_share",
        "copies_share", "ring_accesses_share", "guest_instructions_share",
        "context_switches_share", "interrupts_share", "set_up_exits", "set_up_instructions",
        "pattern", "part", "program",
        "measured_ns_per_packet", "measured_kvm_run_ns_per_packet",
        "measured_userspace_returns_per_packet",
    )  # fmt: skip
    first, last = rows[0], rows[-1]
    assert (first["setup"], first["size"], first["batch"]) == ("mmio-nic", "64", "")
    assert float(first["exits_per_packet"]) == 19
    assert (first["pattern"], first["part"], first["program"]) == (
        "transmit", "sizes", "mmio_nic_tx",
    )  # fmt: skip
    assert (last["setup"], last["size"], last["batch"]) == ("virtio-net", "1500", "8")
    assert float(last["exits_per_packet"]) == 0.125


def test_csv_lines_end_in_a_newline_only(experiment):
    text = to_csv(experiment)
    assert "\r" not in text
    assert text.count("\n") == 7


# SVG ------------------------------------------------------------------------------------------


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_figure_is_well_formed_and_carries_every_number(experiment):
    found = texts(to_svg(experiment))
    for text in ("Exits per packet", "64 bytes", "1500 bytes", "19", "378", "0.125", "3.4M",
                 "mmio-nic", "virtio-net, batch 8"):  # fmt: skip
        assert text in found, text
    assert any("an estimate, not a measurement" in text for text in found)


def test_the_figure_needs_nothing_from_elsewhere_and_is_the_same_each_time(experiment):
    svg = to_svg(experiment)
    assert svg.count("http") == 1  # the namespace
    assert svg == to_svg(run_experiment(16, (64, 1500), (1, 8)))
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1280 720"')


def test_bars_are_as_high_as_their_numbers(experiment):
    root = ElementTree.fromstring(to_svg(experiment))
    heights = {
        rect.find(f"{SVG}title").text: float(rect.get("height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.find(f"{SVG}title") is not None
    }
    ratio = heights["1500 bytes, mmio-nic: 378 exits"] / heights["64 bytes, mmio-nic: 19 exits"]
    assert ratio == pytest.approx(378 / 19, rel=0.02)
    assert heights["64 bytes, virtio-net, batch 8: 0.125 exits"] == 1  # still to be seen


def test_text_in_the_figure_is_escaped():
    odd = replace(MMIO_NIC, name='<b> & "c"')
    svg = to_svg(run_experiment(1, [64], [1], setups=(odd,)))
    assert '<b> & "c"' in texts(svg)


def test_many_bars_make_a_wider_figure_and_nothing_lies_outside():
    experiment = make_experiment(100, tuple(range(64, 1514, 100)), (1, 2, 4, 8, 16, 32, 64, 128))
    root = ElementTree.fromstring(to_svg(experiment))
    width = float(root.get("width"))
    assert width > 1280
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name, 0)) <= width


@pytest.mark.parametrize("counts", [Counts(), Counts(exits=1)])
def test_a_figure_of_nothing_is_still_a_figure(counts):
    svg = to_svg(make_experiment(costs=FREE, counts=lambda *_: counts))
    assert "By this cost table, a packet costs nothing." in texts(svg)
