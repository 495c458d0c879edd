"""Colours and symbols that can be distinguished with any type of colour vision, on light and dark backgrounds.

The colours are those of Okabe and Ito (2008), without black and with yellow last, because each of these is hard to see
on one of the two backgrounds. If there are more names than colours, colours repeat with a different dash and symbol.
Neutral colours are placeholders, `@ink` for example, which the page's script replaces by those of the current theme.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BLUE, VERMILLION, PURPLE, GREEN = "#0072B2", "#D55E00", "#CC79A7", "#009E73"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
OF_MIXTURES = (BLUE, VERMILLION, PURPLE, GREEN, ORANGE, SKY, YELLOW)
OF_SOURCES = (SKY, ORANGE, GREEN, PURPLE, BLUE, VERMILLION, YELLOW)
"""A different order, so that the first mixtures and the first sources do not share colours."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
NEUTRAL = "#8a8d91"
"""Of what has no colour of its own."""
INK, MUTED, FAINT, PAPER = "@ink", "@muted", "@faint", "@paper"


@dataclass(frozen=True)
class Look:
    """Colour, dash and symbol of a name, the same everywhere on the page."""

    color: str
    dash: str
    symbol: str


def looks(names: Iterable[str], colors: tuple[str, ...] = OF_MIXTURES) -> dict[str, Look]:
    """Assign a look to each name, in order."""
    size = len(colors)
    return {
        name: Look(
            colors[index % size],
            DASHES[(index // size) % len(DASHES)],
            SYMBOLS[(index + index // size) % len(SYMBOLS)],
        )
        for index, name in enumerate(dict.fromkeys(names))
    }


def faded(color: str, opacity: float) -> str:
    """A semi-transparent version of a colour."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
