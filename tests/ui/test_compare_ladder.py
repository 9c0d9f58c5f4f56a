"""The ladder on the screen and in the exports."""

from __future__ import annotations

import csv
import io
import json
from xml.etree import ElementTree

import pytest
from compare_kit import make_ladder
from rich.console import Console

from toyvisor.cli import main
from toyvisor.learn.cost_model import KEYS, Cost, CostTable
from toyvisor.learn.experiment import run_experiment
from toyvisor.learn.ladder import setups_of
from toyvisor.learn.setups import Pattern
from toyvisor.ui.compare import render
from toyvisor.ui.compare_export import to_csv, to_json
from toyvisor.ui.compare_ladder import COLUMNS, fitting_columns, ladder_lines, sections
from toyvisor.ui.compare_svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def experiment():
    return run_experiment(64, (64, 1500), (1, 8, 64), setups=setups_of(Pattern))


def screen(experiment, width=80, **options):
    file = io.StringIO()
    render(experiment, Console(file=file, width=width, **options))
    return [line.rstrip() for line in file.getvalue().split("\n")]


RECEIVE_80 = """\
Receive, 1500 bytes
The guest sleeps until packets come. A batch: how many come at the same moment.
In every row, timer exits: 0.

                                to   context  inter-    copied  system    est.
 setup               exits    QEMU  switches   rupts  per byte   calls  cycles
 ─────────────────────────────────────────────────────────────────────────────
 batch 1
 mmio-nic              380     378         4       1      4.02       7    3.4M
 virtio-net              4       2         2       1      2.01       5     32k
 + EVENT_IDX             4       2         2       1      2.01       5     32k
 + ioeventfd/irqfd       4       2         2       1      2.01       4     31k
 + vhost                 4       2         2       1      1.01       0     29k
 - EVENT_IDX             4       2         2       1      1.01       0     29k

 batch 64
 mmio-nic              380     378      2.03       1      4.02    6.02    3.4M
 virtio-net         0.0781  0.0469    0.0625  0.0156      2.00    1.11    1.8k
 + EVENT_IDX        0.0781  0.0469    0.0625  0.0156      2.00    1.11    1.8k
 + ioeventfd/irqfd  0.0781  0.0312    0.0625  0.0156      2.00    1.08    1.7k
 + vhost            0.0625  0.0312    0.0312  0.0156      1.00       0     770
 - EVENT_IDX        0.0625  0.0312    0.0312  0.0156      1.00       0     770
"""


def test_the_receive_table_at_80_columns(experiment):
    assert RECEIVE_80 in "\n".join(screen(experiment))


def test_each_pattern_fits_a_screen_of_24_lines(experiment):
    lines = screen(experiment)
    starts = [lines.index(f"{name}, 1500 bytes") for name in
              ("Transmit", "Receive", "Request and response")]  # fmt: skip
    after = next(n for n, line in enumerate(lines) if line.startswith("Here both runs"))
    assert all(end - start <= 24 for start, end in zip(starts, [*starts[1:], after], strict=True))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(experiment, width):
    assert max(map(len, screen(experiment, width))) <= width


def test_what_has_no_room_is_spoken_for(experiment):
    text = " ".join(" ".join(screen(experiment)).split())
    narrow = [column.about for column in COLUMNS if column not in fitting_columns(experiment, 80)]
    assert narrow == [
        "lightweight exits", "timer exits", "suppressed notifications", "copies", "bytes copied",
        "guest instructions", "ring accesses", "share of the exits", "share of the switches",
    ]  # fmt: skip
    listed = f"{', '.join(narrow[:-1])} and {narrow[-1]}"
    assert f"In a wider terminal and in --csv: {listed}." in text
    assert fitting_columns(experiment, 200) == list(COLUMNS)


def test_the_old_tables_come_first_and_stay_as_they_are(experiment):
    alone = screen(experiment.looking)
    lines = screen(experiment)
    end = alone.index("What one of each costs: an estimate, not a measurement")
    assert lines[: end - 1] == alone[: end - 1]
    assert lines[end] == "Rung by rung: who hears of a packet, and how"


def test_a_ladder_alone_has_its_title_and_no_empty_tables(experiment):
    lines = screen(experiment.ladder)
    assert lines[0] == (
        "64 packets: full virtualization (mmio-nic), para-virtualization (virtio-net)"
    )
    assert "Exits per packet (bars to scale)" not in lines


def test_one_batch_is_shown_once():
    (section, *_) = sections(make_ladder(batches=(8,)))
    assert [batch for batch, _ in section.climbs] == [8]


def test_the_chart_has_every_rung_of_every_pattern_at_its_smallest_batch(experiment):
    lines = screen(experiment)
    at = lines.index("Estimated cycles per packet of 1500 bytes, batch 1 (logarithmic)")
    assert lines[at + 1].split() == ["1k", "10k", "100k", "1M", "10M"]
    assert lines[at + 3].startswith("transmit mmio-nic          ────────")
    assert lines[at + 6].endswith("35k  ████████████▓xxx!")
    assert lines[at + 15].startswith("request  mmio-nic ")
    assert lines[at + 21] == (
        "█ exits  ▓ system calls  ▒ copies  ░ ring accesses  · guest instructions"
    )
    assert lines[at + 22] == "x context switches  ! interrupts"
    assert len(ladder_lines(experiment)) == 18


def test_a_table_that_makes_all_free_draws_no_scale_and_no_legend():
    free = CostTable({key: Cost(0, "yours", "x") for key in KEYS})
    lines = screen(make_ladder(costs=free))
    at = lines.index("By this cost table, a packet costs nothing.")
    assert lines[at + 1] == ""


# For other programs ---------------------------------------------------------------------------


def test_json_has_every_row_with_its_pattern_and_part(experiment):
    found = json.loads(json.dumps(to_json(experiment), allow_nan=False))
    assert found["patterns"] == ["transmit", "receive", "request"]
    places = [(row["pattern"], row["part"], row["setup"], row["size"], row["batch"])
              for row in found["rows"]]  # fmt: skip
    assert len(set(places)) == len(places) == 2 * (4 + 16 + 18 + 6)
    vhost = found["rows"][places.index(("receive", "ladder", "+ vhost", 1500, 8))]
    assert vhost["program"] == "virtio_net_rx"
    assert vhost["hops"]["host->guest"] == {"count": 64, "bytes": 64 * 1500}
    assert vhost["per_packet"]["context_switches"] == 2 / 8
    assert "both runs begin with a batch of packets that is not counted" in found["method"]
    by_title = {one["title"]: one["text"] for one in found["shows"]}
    assert "Receive (batch 1): system calls 4 -> 0" in by_title["Past QEMU"]


def test_an_estimate_in_json_has_switches_and_interrupts_in_it(experiment):
    found = to_json(experiment)
    row = next(row for row in found["rows"] if row["setup"] == "+ vhost" and row["batch"] == 1)
    costs = {name: cost["cycles"] for name, cost in found["costs"].items()}
    by_cost = row["estimate"]["by_cost"]
    assert by_cost["context_switch"] == 2 * costs["context_switch"]
    assert by_cost["interrupt"] == costs["interrupt"]
    assert row["estimate"]["cycles"] == pytest.approx(sum(by_cost.values()))


def test_csv_has_every_row_with_its_pattern_and_part(experiment):
    rows = list(csv.DictReader(io.StringIO(to_csv(experiment))))
    assert len(rows) == len(experiment.rows)
    last = rows[-1]
    assert (last["pattern"], last["part"], last["setup"], last["batch"]) == (
        "request", "ladder", "- EVENT_IDX", "",
    )  # fmt: skip
    assert float(last["context_switches_per_packet"]) == 4
    assert last["program"] == "virtio_net_echo"


def test_the_figure_has_a_part_for_each_batch_and_requests_in_the_first(experiment):
    root = ElementTree.fromstring(to_svg(experiment))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for text in ("Exits per packet", "Exits per packet, batch 1 (logarithmic)", "759", "0.109",
                 "Estimated cycles per packet, batch 64 (logarithmic)", "+ ioeventfd/irqfd",
                 "request, 1500 bytes"):  # fmt: skip
        assert text in texts, text
    assert texts.count("request, 1500 bytes") == 2
    assert texts.count("receive, 1500 bytes") == 4
    told = {title.text for title in root.iter(f"{SVG}title")}
    assert "receive, 1500 bytes, batch 64, + vhost: 0.0625 exits" in told
    assert (root.get("width"), root.get("height")) == ("1280", "1920")


def test_the_figure_of_requests_only_has_one_part():
    svg = to_svg(run_experiment(2, (64,), (1, 8), setups=setups_of([Pattern.REQUEST])))
    assert ElementTree.fromstring(svg).get("height") == "720"


# The command ----------------------------------------------------------------------------------


def test_a_pattern_is_chosen_by_its_name(capsys):
    main(["compare", "--packets", "2", "--size", "64", "--batch", "1", "--pattern", "request",
          "receive", "--csv"])  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["pattern"] for row in rows] == ["request"] * 6 + ["receive"] * 6


def test_every_pattern_there_is_can_be_chosen_and_is_by_default(capsys):
    arguments = ["compare", "--packets", "1", "--size", "64", "--batch", "1", "--json"]
    main(arguments)
    by_default = json.loads(capsys.readouterr().out)
    main([*arguments, "--pattern", *map(str, Pattern)])
    assert json.loads(capsys.readouterr().out) == by_default
    assert by_default["patterns"] == list(map(str, Pattern))
