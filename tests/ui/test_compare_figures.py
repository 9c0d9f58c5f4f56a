"""Numbers as people read them are still the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.ui.figures import against, counted, figure, listed, percent, rough

UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
positive = st.floats(1e-9, 1e18, allow_nan=False)


def value_of(text: str) -> float:
    text = text.replace(",", "")
    return float(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else float(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1.0, "1"),
        (0.125, "0.125"),
        (0.015625, "0.0156"),
        (15.75, "15.8"),
        (378, "378"),
        (999.7, "1,000"),
        (2643, "2,643"),
        (9999, "9,999"),
        (9999.9, "10,000"),
        (10_000, "10k"),
        (16_940, "16.9k"),
        (999_900, "1M"),
        (3_358_594, "3.36M"),
        (2e15, "2.00e+15"),
        (0.0000123, "1.23e-05"),
        (-2.5, "-2.5"),
    ],
)
def test_a_figure_has_three_digits(value, text):
    assert figure(value) == text


@given(positive)
def test_a_figure_is_near_its_number_and_short(value):
    text = figure(value)
    assert value_of(text) == pytest.approx(value, rel=0.01)
    assert len(text) <= 8


@given(positive)
def test_an_estimate_is_near_its_number_and_shows_no_more_than_two_digits(value):
    text = rough(value)
    assert value_of(text) == pytest.approx(value, rel=0.06)
    digits = text.rstrip("kMGT").split("e")[0].replace(".", "").replace(",", "").strip("0")
    assert len(digits) <= 2


@given(st.integers(0, 9999))
def test_small_whole_numbers_are_exact(value):
    assert figure(value) == f"{value:,}"


@given(st.lists(positive, min_size=2, max_size=2))
def test_larger_numbers_never_look_smaller(pair):
    small, large = sorted(pair)
    assert value_of(figure(small)) <= value_of(figure(large)) * (1 + 1e-9)
    assert value_of(rough(small)) <= value_of(rough(large)) * (1 + 1e-9)


@given(st.floats(0, 1))
def test_a_percentage_never_rounds_something_to_nothing_or_to_all(fraction):
    text = percent(fraction)
    assert (text == "0 %") == (fraction == 0)
    assert (text == "100 %") == (fraction == 1)


@given(st.floats(0, 1e15), st.floats(0, 1e15))
def test_a_comparison_says_less_only_of_less(value, reference):
    text = against(value, reference)
    if "less" in text or text == "nothing":
        assert value < reference
    elif "as much" in text or "more" in text:
        assert value > reference
    else:
        assert rough(value) == rough(reference)


@pytest.mark.parametrize(
    ("value", "reference", "text"),
    [
        (10, 3350, "340 times less"),
        (120, 100, "1.2 times as much"),
        (5, 5, "the same"),
        (1001, 1002, "nearly the same"),
        (0, 5, "nothing"),
        (5, 0, "more than nothing"),
    ],
)
def test_comparisons_in_words(value, reference, text):
    assert against(value, reference) == text


def test_nouns_follow_their_numbers():
    assert counted(1, "exit") == "1 exit"
    assert counted(0, "exit") == "0 exits"
    assert counted(0.5, "exit") == "0.5 exits"
    assert counted(1.001, "exit") == "1 exit"
    assert counted(2, "copy", "copies") == "2 copies"
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["", "a", "a, b and c"]
