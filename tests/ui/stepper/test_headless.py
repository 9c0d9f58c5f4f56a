"""Screens as SVG without a terminal, for pages and tests."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import pytest
from stepper_kit import make_session

from toyvisor.errors import InputError
from toyvisor.ui.stepper.headless import screen_svg


def words(svg: str) -> str:
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return " ".join("".join(one.itertext()) for one in texts).replace("\xa0", " ")


def test_the_same_keys_give_the_same_picture() -> None:
    first, second = (
        screen_svg(make_session("virtio_net_tx"), ["e", "v"], (80, 24)) for _ in range(2)
    )
    assert first == second
    assert "load from 0xd0000000" in words(first)
    assert "terminal-toyvisor" in first


def test_light_for_the_projector() -> None:
    svg = screen_svg(make_session("one_store"), ["s"], (120, 40), presenter=True, light=True)
    assert "what comes next" in words(svg)
    assert "#ffffff" in svg.lower()


def test_what_making_the_session_raises() -> None:
    with pytest.raises(InputError, match="no program named"):
        screen_svg(make_session("no_such_program"))


def test_textual_is_loaded_only_where_it_shows() -> None:
    """It takes half a second, and the prompt, the page and all other commands do without."""
    lazy = ["toyvisor.cli", "toyvisor.commands.step", "toyvisor.ui.stepper.source_files"]
    code = f"import sys, {', '.join(lazy)}; print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
