"""Which panes fit on which screen."""

from __future__ import annotations

import pytest

from toyvisor.ui.stepper.arrangement import SWITCHED, VIEWS, Choice, Place, arrange, spacing

SIZES = [(80, 24), (99, 50), (100, 31), (100, 32), (120, 40), (169, 60), (170, 44), (240, 80)]


def cells(place: Place) -> set[tuple[int, int]]:
    return {
        (x, y)
        for x in range(place.x, place.x + place.width)
        for y in range(place.y, place.y + place.height)
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("presenter", [False, True])
def test_panes_fill_the_screen_and_never_overlap(size, presenter) -> None:
    width, height = size
    for view in VIEWS:
        places = arrange(width, height, Choice(presenter=presenter).choose(view))
        covered: set[tuple[int, int]] = set()
        for name, place in places.items():
            assert place.height > 0, name
            assert place.width > 0, name
            assert not covered & cells(place), name
            covered |= cells(place)
        assert covered == cells(Place(0, 0, width, height)), view
        assert view in places, "what was chosen is to be seen"
        assert {"status", "lanes", "timeline", "tabs", "keys"} <= set(places)


def test_one_view_at_a_time_on_a_small_screen() -> None:
    assert set(arrange(80, 24, Choice())) & set(VIEWS) == {"source", "registers", "explain"}
    assert set(arrange(80, 24, Choice().choose("queues"))) & set(VIEWS) == {"queues"}


def test_everything_important_at_once_on_a_large_one() -> None:
    seen = set(arrange(120, 40, Choice())) & set(VIEWS)
    assert seen == {"source", "disassembly", "registers", "explain", "events", "console"}
    assert "memory" in arrange(120, 40, Choice().choose("memory"))
    assert "memory" in arrange(120, 40, Choice().choose("memory").choose("source"))


def test_a_huge_screen_has_the_events_beside_another_view() -> None:
    seen = set(arrange(180, 50, Choice())) & set(SWITCHED)
    assert seen == {"events", "queues", "console"}


def test_the_presenter_has_few_panes_and_much_room() -> None:
    choice = Choice(presenter=True)
    assert set(arrange(120, 40, choice)) & set(VIEWS) == {"source", "explain"}
    assert spacing(120, 40, choice) == 2
    assert spacing(120, 40, Choice()) == 1


@pytest.mark.parametrize("size", [(1, 1), (10, 5), (40, 12), (79, 23)])
def test_a_screen_that_is_too_small_has_something_on_it(size) -> None:
    for presenter in (False, True):
        places = arrange(*size, Choice(presenter=presenter))
        assert all(place.height >= 0 for place in places.values())
