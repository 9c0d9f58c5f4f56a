"""The screen of `toyvisor compare`, at 80 and 120 columns, with and without colour."""

from __future__ import annotations

import io
import re

import pytest
from compare_kit import make_experiment
from rich.console import Console

from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.cost_model import KEYS, Cost, CostTable
from toyvisor.learn.experiment import run_experiment
from toyvisor.ui.compare import progress_bar, render
from toyvisor.ui.compare_plot import ASCII, BLOCKS, Scale, bar, share_cells
from toyvisor.ui.compare_table import COLUMNS, fitting

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def experiment():
    return run_experiment(packets=64)


def screen(experiment, width=80, encoding="utf-8", **options):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    render(experiment, Console(file=file, width=width, **options))
    file.flush()
    return raw.getvalue().decode(encoding)


def lines_of(text):
    return [line.rstrip() for line in text.split("\n")]


# At 80 columns --------------------------------------------------------------------------------

TABLE_80 = """\
64 packets: full virtualization (mmio-nic), para-virtualization (virtio-net)

 frame                                       copied   guest      ring    est.
 bytes  setup       batch   exits  copies  per byte  instr.  accesses  cycles
 ────────────────────────────────────────────────────────────────────────────
    64  mmio-nic        -      19      39      3.38     130         0    170k
        virtio-net      1       1       3      1.12      28        12    9.9k
        virtio-net      8   0.125    1.25      1.02    15.8      5.88    1.9k
        virtio-net     64  0.0156    1.03      1.00    14.2      5.11     900
"""


def test_the_table_at_80_columns(experiment):
    assert "\n".join(lines_of(screen(experiment))).startswith(TABLE_80)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(experiment, width):
    assert max(map(len, screen(experiment, width).split("\n"))) <= width


def test_a_pipe_gets_plain_text(experiment):
    text = screen(experiment)
    assert "\x1b" not in text
    assert lines_of(text)[-2].startswith("  ")


def test_columns_that_do_not_fit_are_spoken_for(experiment):
    text = " ".join(screen(experiment).split())
    assert "All exits go to QEMU." in text
    assert "In every row, system calls: 1." in text
    assert "In a wider terminal and in --csv: bytes copied, share of the exits" in text


def test_the_charts_at_80_columns(experiment):
    lines = lines_of(screen(experiment))
    at = lines.index("Exits per packet (bars to scale)")
    assert lines[at + 1] == "   64 mmio-nic      ██▋ 19"
    assert lines[at + 13] == f" 1500 mmio-nic      {'█' * 51} 378"
    assert lines[at + 14] == "      virtio-net 1  ▏ 1"
    at = lines.index("Estimated cycles per packet (logarithmic), and what they go into")
    assert lines[at + 1].split() == ["100", "1k", "10k", "100k", "1M", "10M"]
    assert lines[at + 3].endswith("170k  ████████████████████")
    assert lines[at + 6].endswith("900  ███▓▓▓▓▓▓▓▓▓▓▓▒░░░░░")
    assert lines[at + 19].startswith("█ exits  ▓ system calls  ▒ copies  ░ ring accesses  · guest")


def test_the_cost_table_is_shown_with_its_sources(experiment):
    text = " ".join(screen(experiment).split())
    assert "an estimate, not a measurement" in text
    assert "vmexit 1,762 out of the guest, KVM's handler, and in again measured: QEMU" in text
    assert "copied_byte 0.0625" in text


def test_a_cost_of_ones_own_is_shown_as_such():
    mine = shipped_costs().changed({"vmexit": Cost(1300, "yours", "[my].toml")})
    text = " ".join(screen(make_experiment(costs=mine)).split())
    assert "vmexit 1,300 out of the guest, KVM's handler, and in again yours: [my].toml" in text


def test_the_words_come_last(experiment):
    lines = lines_of(screen(experiment))
    assert lines.index("What this shows") < lines.index("What it does not show")
    assert lines[-2].endswith("FILE.")


# Wider, narrower, plainer ------------------------------------------------------------------------


def test_120_columns_have_room_for_more(experiment):
    header = " ".join(lines_of(screen(experiment, 120))[3].split())
    assert header == (
        "bytes setup batch exits QEMU copies copied per byte instr. accesses calls cycles "
        "exits copies"
    )
    assert "of it" in lines_of(screen(experiment, 120))[2]


def test_a_wide_terminal_shows_every_column(experiment):
    assert fitting(experiment, 200) == list(COLUMNS)


def test_exits_and_cycles_are_the_last_to_go(experiment):
    kept = [column.about for column in fitting(experiment, 10)]
    assert kept == ["size", "setup", "batch", "exits", "estimated cycles"]


def test_a_terminal_gets_colour_and_no_color_none(experiment, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    options = {"force_terminal": True, "color_system": "256"}
    colourful = screen(experiment, **options)
    assert "\x1b[38;5;166m" in colourful
    monkeypatch.setenv("NO_COLOR", "1")
    plain = screen(experiment, **options)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)
    assert lines_of(ANSI.sub("", plain)) == lines_of(ANSI.sub("", colourful))


def test_a_terminal_without_unicode_gets_ascii(experiment):
    text = screen(experiment, encoding="ascii")
    assert text.isascii()
    assert " 1500 mmio-nic      " + "#" * 51 + " 378" in text
    assert "# exits  = system calls  + copies  : ring accesses  . guest instructions" in text


def test_a_table_that_makes_all_free_draws_no_scale():
    free = CostTable({key: Cost(0, "yours", "x") for key in KEYS})
    text = screen(make_experiment(costs=free))
    assert "By this cost table, a packet costs nothing." in text


@pytest.mark.parametrize("width", [80, 120])
def test_one_packet_of_14_bytes_in_any_batch(width):
    text = screen(run_experiment(1, [14], [128, 1]), width)
    assert "1 packet: full" in text
    assert " 14 mmio-nic " in text


# What charts are made of ----------------------------------------------------------------------


def test_a_bar_is_to_scale_and_never_hides_what_is_there():
    assert bar(1, 10, BLOCKS) == "█" * 10
    assert bar(0.5, 10, ASCII) == "#####"
    assert bar(0.25, 1, BLOCKS) == "▎"
    assert bar(1e-9, 10, BLOCKS) == "▏"
    assert bar(0, 10, BLOCKS) == ""


def test_shares_fill_their_cells_exactly(experiment):
    for row in experiment.rows:
        for room in (10, 20, 37):
            assert sum(share_cells(row, room)) == room


def test_a_logarithmic_scale_puts_decades_at_even_steps():
    scale = Scale.over([120, 3_000_000], 51)
    assert (scale.low, scale.high) == (2, 7)
    assert [scale.position(10.0**n) for n in range(2, 8)] == [0, 10, 20, 30, 40, 50]
    assert scale.axis().split() == ["100", "1k", "10k", "100k", "1M", "10M"]
    assert Scale.over([5, 5], 10).high == 1
    assert len(Scale.over([1e-3, 1e12], 20).axis()) == 20


# Progress ------------------------------------------------------------------------------------


def test_progress_is_drawn_for_a_terminal_and_wiped():
    file = io.StringIO()
    with progress_bar(Console(file=file, force_terminal=True, width=80)) as progress:
        run_experiment(1, [64], [1], progress=progress)
    assert "comparing" in file.getvalue()


def test_nobody_is_told_of_progress_in_a_pipe():
    file = io.StringIO()
    with progress_bar(Console(file=file)) as progress:
        assert progress is None
    assert file.getvalue() == ""
