"""The cost table: what it holds, what a person may change, and what an estimate is made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.errors import InputError, SourceError
from toyvisor.learn.cost_file import SHIPPED, read_costs, shipped_costs
from toyvisor.learn.cost_model import ENTRIES, KEYS, SHARES
from toyvisor.learn.counts import COUNTED, Counts


@pytest.fixture
def costs(tmp_path):
    """Read a table from text."""

    def read(text: str | bytes):
        path = tmp_path / "costs.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_costs(path)

    return read


def test_every_cost_that_is_shipped_has_a_figure_a_basis_and_a_source():
    table = shipped_costs()
    assert tuple(table.costs) == KEYS
    for cost in table.costs.values():
        assert cost.cycles > 0
        assert cost.basis in {"measured", "derived", "published", "assumed"}
        assert len(cost.source) > 10


def test_the_three_costs_of_an_mmio_exit_make_up_the_measured_whole():
    """QEMU commit 29b39bc712b5: mmio-no-eventfd 8796, mmio-wildcard-eventfd 3609."""
    table = shipped_costs()
    in_kvm = table["vmexit"].cycles + table["mmio_emulation"].cycles
    assert in_kvm == 3609
    assert in_kvm + table["userspace_return"].cycles == 8796


def test_an_estimate_is_the_sum_of_counts_times_costs(costs):
    table = costs(
        "guest_instruction = 1\nvmexit = 10\nmmio_emulation = 100\nuserspace_return = 1000\n"
        "copy = 0.5\ncopied_byte = 0.25\nsyscall = 7\nring_access = 3\n"
        "context_switch = 11\ninterrupt = 13\n"
    )
    counts = Counts(
        instructions=20, exits=8, mmio_exits=6, userspace_returns=4, copies=2, bytes_copied=40,
        syscalls=2, ring_reads=5, ring_writes=1, context_switches=4, interrupts=2,
    )  # fmt: skip
    estimate = table.estimate(counts, 2)
    assert estimate.by_share() == {
        "exits": 40 + 300 + 2000,
        "system calls": 7,
        "copies": 0.5 + 5,
        "ring accesses": 9,
        "guest instructions": 10,
        "context switches": 22,
        "interrupts": 13,
    }
    assert estimate.total == 2406.5
    assert estimate.fractions()["exits"] == pytest.approx(2340 / 2406.5)


def test_every_entry_multiplies_a_count_and_belongs_to_a_share():
    for entry in ENTRIES:
        assert isinstance(getattr(Counts(), entry.quantity), int)
        assert entry.share in SHARES


def test_a_table_that_makes_all_free_has_no_shares(costs):
    table = costs("\n".join(f"{key} = 0" for key in KEYS))
    estimate = table.estimate(Counts(*([5] * len(COUNTED))), 1)
    assert estimate.total == 0
    assert set(estimate.fractions().values()) == {0}


@given(st.lists(st.integers(0, 10**9), min_size=len(COUNTED), max_size=len(COUNTED)))
def test_shares_make_up_the_whole(figures):
    estimate = shipped_costs().estimate(Counts(*figures), 7)
    assert sum(estimate.by_share().values()) == pytest.approx(estimate.total)
    if estimate.total:
        assert sum(estimate.fractions().values()) == pytest.approx(1)


# A file of one's own ------------------------------------------------------------------------


def test_a_file_changes_the_entries_it_names_and_no_other(costs):
    table = costs("vmexit = 1300\n[syscall]\ncycles = 90.5\nsource = 'perf bench'\n")
    shipped = shipped_costs()
    assert (table["vmexit"].cycles, table["vmexit"].basis) == (1300, "yours")
    assert table["vmexit"].source.endswith("costs.toml")
    assert (table["syscall"].cycles, table["syscall"].source) == (90.5, "perf bench")
    for key in set(KEYS) - {"vmexit", "syscall"}:
        assert table[key] == shipped[key]


def test_an_empty_file_changes_nothing(costs):
    assert costs("") == shipped_costs()


def test_the_shipped_file_is_a_good_file_to_begin_with():
    assert read_costs(SHIPPED) == shipped_costs()


def test_windows_line_ends_and_a_byte_order_mark_are_no_matter(costs):
    assert costs(b"\xef\xbb\xbfvmexit = 5\r\ncopy = 6\r\n")["copy"].cycles == 6


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("copy = 1\nvmexits = 5", "2:1", "there is no cost 'vmexits'.*did you mean vmexit?"),
        ("frobnicate = 5", "1:1", "there is no cost 'frobnicate'.*known: guest_instruction"),
        ("copy = 1\n\n  vmexit = -5", "3:3", "vmexit can't cost less than nothing: -5"),
        ("vmexit = 'many'", "1:1", "vmexit is a number of cycles, not 'many'"),
        ("vmexit = true", "1:1", "vmexit is a number of cycles, not True"),
        ("vmexit = [1]", "1:1", "vmexit is a number of cycles"),
        ("vmexit = nan", "1:1", "vmexit is a number of cycles, not nan"),
        ("vmexit = inf", "1:1", "vmexit is a number of cycles, not inf"),
        ("vmexit = 1e300", "1:1", "vmexit is out of range"),
        ("[copy]\nsource = 'me'", "1:2", "copy has no cycles"),
        ("[copy]\ncycles = -1", "2:1", "copy can't cost less"),
        ("[copy]\ncycles = 1\ncycle = 1", "3:1", "copy has no 'cycle'.*did you mean cycles?"),
        ("[copy]\ncycles = 1\nsource = 3", "3:1", "copy.source is a text"),
        ("copy = { cycles = 1, basis = 2 }", "1:22", "copy.basis is a text"),
        ("copy = 1\nvmexit 5", "2:8", "not TOML: Expected '='"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(costs, text, place, message):
    with pytest.raises(SourceError, match=r"(?s)" + message) as caught:
        costs(text)
    location = caught.value.location
    assert f"{location.line}:{location.column}" == place
    assert location.file.endswith("costs.toml")
    assert "^" in str(caught.value)


def test_a_file_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="can't read the cost table: No such file"):
        read_costs(tmp_path / "none.toml")
    with pytest.raises(InputError, match="can't read the cost table: Is a directory"):
        read_costs(tmp_path)
    with pytest.raises(InputError, match="can't read the cost table"):
        read_costs("a\0b")


def test_a_file_that_is_not_text_is_an_input_error(costs):
    with pytest.raises(InputError, match="not UTF-8 text: byte 0xff in line 2"):
        costs(b"copy = 1\n\xff\xfe")
    with pytest.raises(InputError, match="more than"):
        costs(b"#" * (2 << 20))


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_fail_otherwise(text):
    from toyvisor.learn.cost_file import _Parser

    try:
        costs = _Parser("x.toml", text).costs()
    except SourceError:
        return
    assert set(costs) <= set(KEYS)


def test_a_changed_figure_does_not_keep_the_shipped_source(tmp_path):
    mine = tmp_path / "my.toml"
    text = SHIPPED.read_text("utf-8").replace("cycles = 1762", "cycles = 1000")
    mine.write_text(text, "utf-8")
    table = read_costs(mine)
    assert (table["vmexit"].cycles, table["vmexit"].basis) == (1000, "yours")
    assert table["vmexit"].source == str(mine)
    assert table["copy"].source == shipped_costs()["copy"].source
