"""A two-dimensional map of clusters: near clusters are near, and no label covers another one.

Fine centroids are projected on the two directions in which they differ most (principal components), each direction
with its largest component positive, so the same centroids give the same drawing. A cluster is a circle at the mean of
its fine centroids, with an area in proportion to its bytes. Labels are placed from the largest cluster on, each at the
free place nearest to its circle; a name that fits nowhere becomes a number, and a number that fits nowhere is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from .flow_layout import text_width

MARGIN = 14.0
LARGEST = 0.055
"""Radius of a circle with all bytes, as a share of the width, times the root of the number of clusters."""
LEAST_RADIUS = 3.0
RINGS, ANGLES = 24, 16
"""Positions tried for a label: at growing distances, in this many directions."""


@dataclass(frozen=True)
class MapGeometry:
    """Sizes in pixels of one form of the map."""

    name: str
    width: int
    height: int
    font: float
    has_names: bool
    """Whether labels are names; else numbers."""


WIDE = MapGeometry("wide", 960, 540, 12.0, has_names=True)
NARROW = MapGeometry("narrow", 350, 350, 11.0, has_names=False)


@dataclass(frozen=True)
class Circle:
    """A cluster."""

    x: float
    y: float
    radius: float
    color: str
    title: str


@dataclass(frozen=True)
class Dot:
    """A fine cluster."""

    x: float
    y: float
    color: str


@dataclass(frozen=True)
class Label:
    """A label in a box; `x` and `y` are the left end of its baseline."""

    x: float
    y: float
    text: str
    left: float
    top: float
    width: float
    height: float
    to_x: float
    to_y: float
    """The centre of its circle."""

    def covers(self, other: Label) -> bool:
        """Whether two boxes overlap."""
        beside = self.left + self.width <= other.left or other.left + other.width <= self.left
        return not (beside or self.top + self.height <= other.top or other.top + other.height <= self.top)


@dataclass(frozen=True)
class ClusterMap:
    """Everything that is drawn, in one form."""

    geometry: MapGeometry
    circles: tuple[Circle, ...]
    dots: tuple[Dot, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class MappedCluster:
    """A cluster on a map."""

    name: str
    size: int
    color: str
    fine: tuple[int, ...]
    """Indices of its fine centroids."""


def project(centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coordinates of points on their first two principal components: float64 [points, 2], each from 0 to 1."""
    centered = centroids - centroids.mean(axis=0)
    _, directions = np.linalg.eigh(centered.T @ centered)
    first = directions[:, ::-1][:, :2]
    signs = np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])
    found = np.zeros((len(centroids), 2))
    found[:, : first.shape[1]] = centered @ (first * signs)
    low, high = found.min(axis=0), found.max(axis=0)
    scaled: NDArray[np.float64] = np.where(high - low > 1e-9, (found - low) / np.maximum(high - low, 1e-9), 0.5)
    return scaled


def draw_map(centroids: NDArray[np.float64], clusters: Sequence[MappedCluster], geometry: MapGeometry) -> ClusterMap:
    """Draw the clusters of fine centroids; centroids of no cluster are left out."""
    places = project(centroids)
    total = sum(cluster.size for cluster in clusters) or 1
    largest = LARGEST * geometry.width * sqrt(len(clusters))
    room = np.array([geometry.width - 2 * MARGIN, geometry.height - 2 * MARGIN])
    points = MARGIN + places * room
    points[:, 1] = geometry.height - points[:, 1]
    circles, dots = [], []
    for cluster in clusters:
        own = points[list(cluster.fine)]
        x, y = own.mean(axis=0).tolist()
        radius = max(LEAST_RADIUS, largest * sqrt(cluster.size / total))
        x = min(max(x, radius), geometry.width - radius)  # the whole circle is inside
        y = min(max(y, radius), geometry.height - radius)
        title = f"{cluster.name}: {cluster.size / total:.1%} of the bytes, {len(cluster.fine)} fine clusters"
        circles.append(Circle(round(x, 1), round(y, 1), round(radius, 1), cluster.color, title))
        dots += [Dot(round(x, 1), round(y, 1), cluster.color) for x, y in own.tolist()]
    return ClusterMap(geometry, tuple(circles), tuple(dots), tuple(_labels(clusters, circles, geometry)))


def _labels(clusters: Sequence[MappedCluster], circles: Sequence[Circle], geometry: MapGeometry) -> list[Label]:
    placed: list[Label] = []
    order = sorted(range(len(clusters)), key=lambda index: (-clusters[index].size, index))
    for index in order:
        name = clusters[index].name
        texts = [name, name.partition("-")[0]] if geometry.has_names else [name.partition("-")[0]]
        for text in texts:
            label = _place(text, circles[index], placed, geometry)
            if label is not None:
                placed.append(label)
                break
    return placed


def _place(text: str, circle: Circle, placed: Sequence[Label], geometry: MapGeometry) -> Label | None:
    """The free place that is nearest to the circle's centre; None if all that are tried are taken."""
    width, height = text_width(text, geometry.font) + 4, geometry.font * 1.3
    for ring in range(RINGS):
        for step in range(ANGLES if ring else 1):
            angle = 2 * pi * step / ANGLES
            x = circle.x + ring * height * 0.6 * cos(angle) - width / 2
            y = circle.y + ring * height * 0.6 * sin(angle) - height / 2
            x = min(max(x, 0.0), geometry.width - width)
            y = min(max(y, 0.0), geometry.height - height)
            left, top = round(x, 1), round(y, 1)
            baseline = round(top + geometry.font, 1)
            label = Label(left + 2, baseline, text, left, top, width, height, circle.x, circle.y)
            if not any(label.covers(other) for other in placed):
                return label
    return None
