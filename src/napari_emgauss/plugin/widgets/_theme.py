"""Colours of napari's present theme, for what we paint ourselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STAGE_COLOURS = {
    "prior": "#8f7fd6",
    "warm-up": "#e0a030",
    "joint": "#35a7a0",
    "teacher-student": "#4f8ff7",
}
"""Told apart on light and dark ground, and by the colour-blind."""

WARNING_COLOUR = {"dark": "#f0b429", "light": "#9a5b00"}
ERROR_COLOUR = {"dark": "#ff7b72", "light": "#b3261e"}


@dataclass(frozen=True)
class Colours:
    """Hexadecimal colours of a theme."""

    background: str
    text: str
    muted: str
    muted_text: str
    highlight: str
    line: str
    warning: str
    error: str


def theme_colours(viewer: Any) -> Colours:
    """Colours of the viewer's theme."""
    from napari.utils.theme import get_theme

    theme = get_theme(viewer.theme)
    kind = "light" if _is_light(theme.background.as_hex("long")) else "dark"
    return Colours(
        background=theme.background.as_hex("long")[:7],
        text=theme.text.as_hex("long")[:7],
        muted=theme.primary.as_hex("long")[:7],
        muted_text="#a7adb5" if kind == "dark" else "#5c6168",
        highlight=theme.current.as_hex("long")[:7],
        line=theme.secondary.as_hex("long")[:7],
        warning=WARNING_COLOUR[kind],
        error=ERROR_COLOUR[kind],
    )


def _is_light(colour: str) -> bool:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue > 128
