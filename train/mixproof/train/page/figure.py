"""Figures for plotly.js: plain JSON, with neutral colours left to the theme of the page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LONGEST_LABEL = 34
Trace = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One figure."""

    id: str
    label: str
    """Description for screen readers."""
    caption: str
    traces: Sequence[Trace]
    layout: dict[str, Any]
    narrow: dict[str, Any] = field(default_factory=dict)
    """Layout changes on narrow screens, by dotted name."""
    narrow_traces: dict[str, Any] = field(default_factory=dict)
    """Changes to every trace on narrow screens."""
    view: str = ""
    """Name of its view, if several figures share one plot and the reader chooses between them."""

    def to_json(self) -> dict[str, Any]:
        """The input of the page's script."""
        return {
            "data": list(self.traces),
            "layout": self.layout,
            "narrow": {"layout": self.narrow, "trace": self.narrow_traces},
        }


@dataclass(frozen=True)
class Plot:
    """One figure, or several of which the reader chooses one."""

    figures: tuple[Figure, ...]
    choice: str = "Unit"
    """Label of the choice."""

    @property
    def id(self) -> str:
        """HTML id."""
        return self.figures[0].id


def label(text: str, longest: int = LONGEST_LABEL) -> str:
    """A name for plotly.js: escaped, because plotly.js reads markup, and truncated if it is long."""
    return html.escape(text if len(text) <= longest else text[: longest - 1] + "…", quote=False)


def axis(title: str = "", **more: object) -> dict[str, Any]:
    """An axis."""
    return {
        "title": {"text": title, "standoff": 10, "font": {"size": 12}},
        "automargin": True,
        "zeroline": False,
        **more,
    }


def names_axis(names: Sequence[str]) -> dict[str, Any]:
    """An axis of names, from bottom to top."""
    return axis(type="category", showgrid=False, range=[-0.6, len(names) - 0.4])


def short_names(names: Sequence[str], longest: int = 14) -> dict[str, Any]:
    """Layout changes on narrow screens for an axis of names: names are truncated."""
    return {
        "yaxis.tickvals": [label(name) for name in names],
        "yaxis.ticktext": [label(name, longest) for name in names],
    }


def layout(height: int, xaxis: dict[str, Any], yaxis: dict[str, Any], legend: str, **more: object) -> dict[str, Any]:
    """Layout of a figure with two axes and a legend above; `legend` says what the entries of the legend are."""
    return {
        "height": height,
        "xaxis": xaxis,
        "yaxis": yaxis,
        "legend": {
            "title": {"text": f"{legend}:", "side": "top"},
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "traceorder": "normal",
        },
        "margin": {"t": 54, "b": 44, "l": 8, "r": 16},
        "hovermode": "closest",
        **more,
    }


def legend_height(names: int, per_row: int = 4) -> int:
    """Height in pixels of a legend with `names` entries."""
    return 20 * -(-names // per_row)


def scatter(mode: str, name: str, x: Sequence[object], y: Sequence[object], **more: object) -> Trace:
    """Points, lines or both."""
    return {"type": "scatter", "mode": mode, "name": name, "x": list(x), "y": list(y), **more}
