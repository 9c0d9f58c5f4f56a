"""The main screens at two sizes, character by character."""

from __future__ import annotations

import pytest
from screens import SCREENS, SIZES, draw, path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SCREENS)
def test_the_screen_is_as_it_was(name, size) -> None:
    kept = path(name, size).read_text(encoding="utf-8")
    assert draw(SCREENS[name], SIZES[size]) == kept, (
        "meant? then renew it: python tests/ui/stepper/screens.py"
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SCREENS)
def test_no_screen_shows_where_this_machine_keeps_its_files(name, size) -> None:
    text = path(name, size).read_text(encoding="utf-8")
    assert "/guest_programs" not in text
    assert "Traceback" not in text


def test_nothing_is_kept_that_is_not_looked_at() -> None:
    kept = {file.name for file in path("start", "80x24").parent.iterdir()}
    assert kept == {path(name, size).name for name in SCREENS for size in SIZES}
