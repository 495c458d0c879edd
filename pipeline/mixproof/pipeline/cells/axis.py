"""One axis of a division: its cells by name, and in which of them a document is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.split import PRUNED, UNLABELLED, SplitAxis, cells_of_number
from mixproof.pipeline.columns import array_of

from .edges import quantile_keys
from .survey import number_of


@dataclass(frozen=True)
class Axis:
    """An axis whose cells are known."""

    column: str
    cells: tuple[str, ...]
    """Names of the cells, without that of documents that have no value."""
    edges: tuple[float, ...] | None = None
    """Ascending bounds between the cells of a number; None: a cell is a value of a category."""
    prunes: bool = False
    """Whether `pruned` is not a cell, but the documents that leave the corpus."""

    def number_of_rows(self, column: Any) -> NDArray[np.int64]:  # noqa: ANN401 - pyarrow ships no types
        """The number of each row's cell; `len(cells)` where it has no value."""
        if self.edges is None:
            found = pc.index_in(column, value_set=pa.array(self.cells, pa.string()))
            return array_of(pc.fill_null(found, len(self.cells))).astype(np.int64)
        is_null = array_of(pc.cast(pc.is_null(column), pa.uint8())).astype(np.bool_)
        values = array_of(pc.fill_null(pc.cast(column, pa.float64(), safe=False), 0.0))
        numbers = np.searchsorted(np.array(self.edges), values, side="right")
        return np.where(is_null, len(self.cells), numbers).astype(np.int64)

    def name_of(self, number: int) -> str:
        """The name of a cell."""
        return (*self.cells, UNLABELLED)[number]

    def is_pruned(self, column: Any) -> NDArray[np.bool_]:  # noqa: ANN401 - pyarrow ships no types
        """Which rows belong to a fine cluster that was pruned."""
        if not self.prunes:
            return np.zeros(len(column), np.bool_)
        is_value = pc.fill_null(pc.equal(column, PRUNED), fill_value=False)
        return array_of(pc.cast(is_value, pa.uint8())).astype(np.bool_)

    def plain(self) -> dict[str, object]:
        """The axis for a key: exact numbers as text."""
        return {"column": self.column, "cells": list(self.cells), "edges": self.edge_texts()}

    def edge_texts(self) -> tuple[str, ...]:
        """The bounds as text that gives the same numbers again."""
        return tuple(repr(edge) for edge in self.edges or ())


def category_axis(where: str, declared: SplitAxis, values: Mapping[str, int]) -> Axis:
    """The axis of a category: a cell for each of its values.

    Raises:
        RequestError: when no document has a value, or one has the name of the cell for documents without a value.
    """
    if not values:
        raise RequestError(f"{where}: no document has a value in {declared.column!r}; check the name of the field")
    if UNLABELLED in values:
        raise RequestError(
            f"{where}: {values[UNLABELLED]} documents have the value {UNLABELLED!r} in {declared.column!r}, which is "
            "the name of the cell for documents without a value; rename the value"
        )
    prunes = declared.clusters is not None
    return Axis(declared.column, tuple(sorted(set(values) - {PRUNED} if prunes else values)), prunes=prunes)


def number_axis(where: str, declared: SplitAxis, numbers: Sequence[NDArray[np.uint64]]) -> Axis:
    """The axis of a number: cells between declared bounds, or with equally many documents.

    Args:
        where: the key in the spec.
        declared: the axis in the spec.
        numbers: of each shard, the values as ascending sortable integers.

    Raises:
        RequestError: when quantiles are asked of no document.
    """
    if declared.edges is not None:
        edges = tuple(float(edge) for edge in declared.edges)
        return Axis(declared.column, cells_of_number(declared), edges)
    assert declared.quantiles is not None, "a number has edges or quantiles"
    if not sum(map(len, numbers)):
        raise RequestError(f"{where}: no document has a number in {declared.column!r}; check the name of the field")
    keys = quantile_keys(numbers, declared.quantiles)
    return Axis(declared.column, cells_of_number(declared), tuple(map(number_of, keys)))
