"""Colours and marks that stay apart for every kind of colour vision, on paper and on a dark screen.

Okabe and Ito's colours (2008), without black and with yellow last, because both vanish on one of the two grounds.
Where there are more names than colours, the colours come again with another dash and another symbol; every line and
dot is told apart by both. Neutrals are tokens, `@ink` for example, which the page replaces by those of its theme.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BLUE, VERMILLION, PURPLE, GREEN = "#0072B2", "#D55E00", "#CC79A7", "#009E73"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
OF_MIXTURES = (BLUE, VERMILLION, PURPLE, GREEN, ORANGE, SKY, YELLOW)
OF_SOURCES = (SKY, ORANGE, GREEN, PURPLE, BLUE, VERMILLION, YELLOW)
"""Another order, so that the first few mixtures and the first few sources share no colour."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
INK, MUTED, FAINT, PAPER = "@ink", "@muted", "@faint", "@paper"


@dataclass(frozen=True)
class Look:
    """How one name is drawn everywhere on the page."""

    color: str
    dash: str
    symbol: str


def looks(names: Iterable[str], colors: tuple[str, ...] = OF_MIXTURES) -> dict[str, Look]:
    """Give each name a look, in order."""
    size = len(colors)
    return {
        name: Look(
            colors[place % size],
            DASHES[(place // size) % len(DASHES)],
            SYMBOLS[(place + place // size) % len(SYMBOLS)],
        )
        for place, name in enumerate(dict.fromkeys(names))
    }


def faded(color: str, opacity: float) -> str:
    """A colour that lets what is behind it through."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
