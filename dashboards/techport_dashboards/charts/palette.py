"""Colours of charts, on light pages and paper and on dark pages: those of static/css/base.css, by name.

The style sheet colours what HTML and SVG draw, this module what plotly.js draws; a test holds the two equal. No colour
of LIGHT has two meanings, so that a page in the dark can replace each by its counterpart (static/js/drawing.js).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as #rrggbb."""

    ink: str
    text: str
    grid: str
    surface: str
    envelope: str
    accent: str
    limit: str
    air: tuple[str, ...]  # a colour for each class of the air quality index
    series: tuple[str, ...]  # of lines, by the device's place in its pilot


LIGHT = Palette(
    ink="#14212b",
    text="#4d5d69",
    grid="#dbe2e6",
    surface="#ffffff",
    envelope="#5d7482",
    accent="#0b6478",
    limit="#b45f06",
    air=("#2fb8b0", "#3a9c74", "#d8b400", "#e8554e", "#960032", "#7d2181"),
    series=("#0b6e99", "#c2570c", "#2b7a3d", "#8a3b8f", "#a07a00", "#3f51b5", "#b0335f", "#546470"),
)
DARK = Palette(
    ink="#e6edf1",
    text="#a3b2bc",
    grid="#2a3740",
    surface="#172027",
    envelope="#93aab8",
    accent="#6cc5d6",
    limit="#f0a24a",
    air=("#50f0e6", "#50ccaa", "#f0e641", "#ff5050", "#d2346b", "#b04fb8"),
    series=("#5bb8e0", "#f2995c", "#79c98a", "#d08fd6", "#dcbf4f", "#9aa8f5", "#f08bb0", "#a9b8c2"),
)
PALETTES: Mapping[Theme, Palette] = {"light": LIGHT, "dark": DARK}


def with_alpha(colour: str, alpha: float) -> str:
    """#rrggbb made translucent: #rrggbbaa."""
    return f"{colour}{round(alpha * 255):02x}"
