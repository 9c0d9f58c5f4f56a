"""Colours: four themes of the Okabe-Ito palette, which colour-blind people can tell apart.

Okabe and Ito, "Color Universal Design" (2008), eight colours. On a light screen the text needs
darker ones of the same hues: all text has a contrast of at least 4.5 to 1 (WCAG 2.1, AA), with
the presenter's themes 7 to 1 (AAA).
"""

from __future__ import annotations

from textual.theme import Theme

#: The palette as published.
OKABE_ITO = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}

#: What each layer and meaning is drawn in; darker hues where the screen is light.
_DARK = {
    "guest": "#56B4E9",
    "kvm": "#E69F00",
    "qemu": "#2CC79C",
    "host": "#DD95BC",
    "changed": "#F0E442",
    "breakpoint": "#FF7A2E",
}
_LIGHT = {
    "guest": "#005B8F",
    "kvm": "#805000",
    "qemu": "#00664A",
    "host": "#8A3565",
    "changed": "#8F3F00",
    "breakpoint": "#A84300",
}
_DARK_STRONG = {
    "guest": "#8FD0F5",
    "kvm": "#FFBF33",
    "qemu": "#4FE0B6",
    "host": "#F0B3D3",
    "changed": "#F5EC6E",
    "breakpoint": "#FF9A5E",
}
_LIGHT_STRONG = {
    "guest": "#00446B",
    "kvm": "#5E3B00",
    "qemu": "#004D38",
    "host": "#66224A",
    "changed": "#6E3000",
    "breakpoint": "#7A3100",
}


def _theme(
    name: str, hues: dict[str, str], *, dark: bool, paper: str, ink: str, panel: str, faint: str
) -> Theme:
    return Theme(
        name=name,
        dark=dark,
        primary=hues["guest"],
        secondary=hues["host"],
        accent=hues["kvm"],
        warning=hues["changed"],
        error=hues["breakpoint"],
        success=hues["qemu"],
        foreground=ink,
        background=paper,
        surface=paper,
        panel=panel,
        text_alpha=1.0,
        variables={
            **{f"hue-{meaning}": colour for meaning, colour in hues.items()},
            "faint": faint,
            "current-background": panel,
            "footer-key-foreground": hues["kvm"],
            "border": faint,
        },
    )


#: By (presenter, dark).
THEMES: dict[tuple[bool, bool], Theme] = {
    (False, True): _theme(
        "toyvisor-dark", _DARK, dark=True,
        paper="#101418", ink="#E6E6E6", panel="#2A3440", faint="#98A2AC",
    ),
    (False, False): _theme(
        "toyvisor-light", _LIGHT, dark=False,
        paper="#FAFAF7", ink="#1A1A1A", panel="#DCE3EA", faint="#5C646C",
    ),
    (True, True): _theme(
        "toyvisor-presenter-dark", _DARK_STRONG, dark=True,
        paper="#000000", ink="#FFFFFF", panel="#16233A", faint="#BEC6CE",
    ),
    (True, False): _theme(
        "toyvisor-presenter-light", _LIGHT_STRONG, dark=False,
        paper="#FFFFFF", ink="#000000", panel="#D9E6F5", faint="#3F464D",
    ),
}  # fmt: skip
