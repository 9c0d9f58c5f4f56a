"""Colours: enough contrast to be read, more of it for the projector (WCAG 2.1, 1.4.3, 1.4.6)."""

from __future__ import annotations

import pytest
from textual.color import Color

from toyvisor.ui.stepper.themes import THEMES


def luminance(colour: str) -> float:
    def linear(part: int) -> float:
        value = part / 255
        return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = Color.parse(colour).rgb
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("kind", THEMES)
def test_all_text_can_be_read(kind) -> None:
    theme = THEMES[kind]
    least = 7 if kind[0] else 4.5
    texts = {name: v for name, v in theme.variables.items() if name.startswith("hue-")}
    texts |= {"faint": theme.variables["faint"], "foreground": theme.foreground}
    for name, colour in texts.items():
        for paper in (theme.background, theme.variables["current-background"]):
            assert contrast(colour, paper) >= least, (name, paper)


def test_the_formula_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("kind", THEMES)
def test_the_layers_differ_in_hue(kind) -> None:
    hues = [THEMES[kind].variables[f"hue-{layer}"] for layer in ("guest", "kvm", "qemu", "host")]
    assert len({round(Color.parse(hue).hsl.h, 2) for hue in hues}) == 4
