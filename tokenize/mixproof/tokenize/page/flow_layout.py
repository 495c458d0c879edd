"""The layout of a flow as a Sankey diagram from top to bottom: bands, ribbons and labels, in pixels.

Every source is a band whose width is to scale; at each stage, what leaves the data bends to the right and ends beside
its label. Every label has a row of its own and is truncated to its column, so that labels cannot overlap.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from .flow import Flow, Stage
from .table import amount, short_percent

EM_WIDTH = 0.63
"""Upper estimate of a character's mean width in a sans-serif font, in em; ideographs have 1."""
SIGNS = {"bytes": "B", "documents": "", "tokens": ""}
THINNEST = 1.0
"""Pixels; the smallest exit that is drawn."""
NUMBERS_EM = 10
"""Width of the column of amounts, where it is beside the reasons."""
GAP = 8.0
"""Pixels between a band, a ribbon and the labels beside them."""


@dataclass(frozen=True)
class Geometry:
    """Sizes in pixels of one form of the drawing."""

    name: str
    width: int
    left: int
    """Column of the stages' labels."""
    right: int
    """Column of the reasons' labels."""
    bend: int
    """Room to the right of the bands, in which ribbons bend."""
    font: float
    lines: int
    """Lines per label of a reason: the amount is beside it or below it."""


WIDE = Geometry("wide", width=960, left=170, right=360, bend=36, font=13.0, lines=1)
NARROW = Geometry("narrow", width=350, left=92, right=138, bend=16, font=11.5, lines=2)


@dataclass(frozen=True)
class Text:
    """A label; `y` is its baseline."""

    x: float
    y: float
    text: str
    muted: bool = False


@dataclass(frozen=True)
class Shape:
    """A filled path of one source, with the sentence that a pointer shows."""

    path: str
    source: str
    title: str
    kind: str
    """`band`, `exit` or `node`."""


@dataclass(frozen=True)
class Drawing:
    """Everything that is drawn, in one form."""

    geometry: Geometry
    height: float
    shapes: tuple[Shape, ...]
    texts: tuple[Text, ...]


def draw(flow: Flow, geometry: Geometry) -> Drawing:
    """Lay out a flow."""
    return _Layout(flow, geometry).draw()


class _Layout:
    """The layout, stage by stage from the top."""

    def __init__(self, flow: Flow, geometry: Geometry) -> None:
        self.flow, self.geometry = flow, geometry
        self.line = geometry.font * 1.35
        bands = geometry.width - geometry.left - geometry.right - geometry.bend - 2 * GAP
        widest = max(sum(stage.entering.values()) for stage in flow.stages) or 1
        self.scale = bands / widest
        self.end_of_ribbons = geometry.width - geometry.right - GAP
        self.shapes: list[Shape] = []
        self.texts: list[Text] = []

    def draw(self) -> Drawing:
        top = self.line
        stages = self.flow.stages
        for index, stage in enumerate(stages):
            after = stages[index + 1].entering if index + 1 < len(stages) else self.flow.remaining
            top = self._stage(stage, after, top)
        self._nodes(self.flow.end, self.flow.remaining, frozenset(self.flow.remaining), top)
        return Drawing(self.geometry, round(top + 2.4 * self.line, 1), tuple(self.shapes), tuple(self.texts))

    def _stage(self, stage: Stage, after: Mapping[str, int], top: float) -> float:
        """Draw one stage and what flows out of it; return the top of the next one."""
        heights = [max(self.geometry.lines * self.line + 3, self._px(one.total) + 4) for one in stage.exits]
        bottom = top + max(2.6 * self.line + (self.line if stage.added else 0), sum(heights) + 0.9 * self.line)
        starts = self._lefts(stage.entering)
        next_starts = self._lefts(after)
        for name in self.flow.sources:
            kept = stage.entering[name] - sum(one.amounts.get(name, 0) for one in stage.exits)
            self._band(name, kept, after[name], starts[name], next_starts[name], top, bottom)
        self._exits(stage, heights, starts, top)
        self._nodes(stage.label, stage.entering, stage.takes_part, top, stage.added)
        return bottom

    def _band(self, name: str, kept: int, after: int, x: float, next_x: float, top: float, bottom: float) -> None:
        if not after:
            return
        width, next_width, middle = self._px(max(kept, 0)), self._px(after), (top + bottom) / 2
        path = (
            f"M{x:.1f} {top:.1f}C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {bottom:.1f}"
            f"h{next_width:.2f}C{next_x + next_width:.1f} {middle:.1f} {x + width:.1f} {middle:.1f} "
            f"{x + width:.1f} {top:.1f}z"
        )
        self.shapes.append(Shape(path, name, f"{name}: {self._told(after)}", "band"))

    def _exits(self, stage: Stage, heights: list[float], starts: Mapping[str, float], top: float) -> None:
        """Draw what leaves: the first exit leaves each band at its right edge and ends at the top."""
        right = {name: starts[name] + self._px(stage.entering[name]) for name in self.flow.sources}
        entering = sum(stage.entering[name] for name in stage.takes_part)
        y = top + 0.5 * self.line
        for one, height in zip(stage.exits, heights, strict=True):
            thickness = self._px(one.total)
            at = y + max(0.0, (height - 4 - thickness) / 2)
            for name in reversed(self.flow.sources):
                value = one.amounts.get(name, 0)
                if value:
                    width = self._px(value)
                    title = f"{name}, {one.label}: {self._told(value)}"
                    self.shapes.append(Shape(self._ribbon(right[name], width, top, at), name, title, "exit"))
                    right[name] -= width
                    at += width
            self._label_of_exit(one.label, one.total, one.total / entering, y + (height - 4) / 2)
            y += height

    def _ribbon(self, right: float, width: float, top: float, at: float) -> str:
        """A ribbon that leaves a band downward, between `right` - `width` and `right`, and bends to the right."""
        left, end, drawn = right - width, self.end_of_ribbons, max(width, THINNEST)
        return (
            f"M{left:.1f} {top:.1f}Q{left:.1f} {at + drawn:.1f} {end:.1f} {at + drawn:.1f}"
            f"V{at:.1f}Q{right:.1f} {at:.1f} {right:.1f} {top:.1f}z"
        )

    def _label_of_exit(self, label: str, total: int, share: float, middle: float) -> None:
        x, font = self.geometry.width - self.geometry.right, self.geometry.font
        number = f"{self._told(total, unit=False)} · {short_percent(share)}"
        if self.geometry.lines == 2:
            self.texts.append(Text(x, middle - 0.15 * font, fitting(label, self.geometry.right, font)))
            self.texts.append(Text(x, middle + 1.0 * font, fitting(number, self.geometry.right, font), muted=True))
            return
        numbers = NUMBERS_EM * font
        self.texts.append(Text(x, middle + 0.35 * font, fitting(label, self.geometry.right - numbers, font)))
        x_number = self.geometry.width - numbers + GAP
        self.texts.append(Text(x_number, middle + 0.35 * font, fitting(number, numbers - GAP, font), muted=True))

    def _nodes(
        self, label: str, entering: Mapping[str, int], takes_part: frozenset[str], top: float, added: int = 0
    ) -> None:
        starts, font, left = self._lefts(entering), self.geometry.font, self.geometry.left - GAP
        for name in self.flow.sources:
            if name in takes_part and entering[name]:
                width = max(self._px(entering[name]), THINNEST)
                path = f"M{starts[name]:.1f} {top - 2:.1f}h{width:.2f}v4h{-width:.2f}z"
                self.shapes.append(Shape(path, name, f"{name} into {label}: {self._told(entering[name])}", "node"))
        self.texts.append(Text(0, top + 0.35 * font, fitting(label, left, font)))
        total = self._told(sum(entering[name] for name in takes_part), unit=False)
        self.texts.append(Text(0, top + 1.6 * font, fitting(total, left, font), muted=True))
        if added:
            self.texts.append(
                Text(0, top + 2.85 * font, fitting(f"+{self._told(added, unit=False)}", left, font), True)
            )

    def _lefts(self, amounts: Mapping[str, int]) -> dict[str, float]:
        """Left edges of the bands."""
        found, x = dict[str, float](), float(self.geometry.left)
        for name in self.flow.sources:
            found[name] = x
            x += self._px(amounts[name])
        return found

    def _px(self, value: int) -> float:
        return value * self.scale

    def _told(self, value: int, *, unit: bool = True) -> str:
        if not unit:
            return f"{amount(value)}{SIGNS[self.flow.unit]}"
        return f"{value:,} {self.flow.unit}"


def text_width(text: str, font: float) -> float:
    """An upper estimate of the width of a text, in pixels."""
    ems = sum(1.0 if unicodedata.east_asian_width(sign) in "WF" else EM_WIDTH for sign in text)
    return ems * font


def fitting(text: str, width: float, font: float) -> str:
    """The text, or as much of it as fits into a width, with an ellipsis."""
    if text_width(text, font) <= width:
        return text
    for length in range(len(text) - 1, 0, -1):
        if text_width(text[:length].rstrip() + "…", font) <= width:
            return text[:length].rstrip() + "…"
    return "…"
