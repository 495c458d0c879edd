"""The map of clusters: deterministic, inside its frame, and without labels that cover each other."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mixproof.tokenize.page.cluster_map import NARROW, WIDE, MapGeometry, MappedCluster, draw_map, project
from mixproof.tokenize.page.flow_layout import text_width


def clusters(number: int, fine: int) -> list[MappedCluster]:
    names = [f"c{index + 1:02d}-government-district-columbia" for index in range(number)]
    return [
        MappedCluster(name, 10 * (number - index), "#000", tuple(range(index, fine, number)))
        for index, name in enumerate(names)
    ]


def test_the_first_axis_is_the_direction_in_which_points_differ_most() -> None:
    points = np.array([[0, 0, 0], [10, 0, 0], [0, 4, 0], [10, 4, 0]], np.float64)
    assert project(points).round(6).tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert np.array_equal(project(points + 7), project(points))
    assert project(np.ones((3, 4))).tolist() == [[0.5, 0.5]] * 3  # identical documents have one centroid


@pytest.mark.parametrize("geometry", [WIDE, NARROW])
@pytest.mark.parametrize("number", [1, 2, 20, 60])
def test_labels_are_inside_the_frame_and_cover_no_other_even_at_one_place(geometry: MapGeometry, number: int) -> None:
    centroids = np.random.default_rng(number).normal(0, 100, (200, 8)).round()
    centroids[:100] = centroids[0]  # many clusters at one place
    drawn = draw_map(centroids, clusters(number, 200), geometry)
    assert draw_map(centroids, clusters(number, 200), geometry) == drawn
    for first, second in combinations(drawn.labels, 2):
        assert not first.covers(second)
    for label in drawn.labels:
        assert label.left >= 0 and label.left + text_width(label.text, geometry.font) <= geometry.width
        assert label.top >= 0 and label.top + label.height <= geometry.height
    for circle in drawn.circles:
        assert circle.radius <= circle.x <= geometry.width - circle.radius + 0.1
        assert circle.radius <= circle.y <= geometry.height - circle.radius + 0.1
    if number <= 20:
        assert len(drawn.labels) == number
    assert {label.text.partition("-")[0] for label in drawn.labels} <= {f"c{index + 1:02d}" for index in range(number)}
