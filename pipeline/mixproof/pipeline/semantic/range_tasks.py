"""The task over a range of cells: a forest that connects the similar documents of all of them.

Large cells have tasks of their own (`large_cells.py`), whose forests are added here. So the forest of a range is the
same however its cells are divided.
Memory: the vectors of CHUNK documents, 512 bytes each with 256 dimensions, and the forests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mixproof.ledger.store import Store
from mixproof.pipeline.dedup.edges import FOREST, Pairs, forest
from mixproof.pipeline.group import Documents
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.shuffle.document_rows import DocumentRows
from mixproof.pipeline.shuffle.fetch import opened_rows, write_needed
from mixproof.pipeline.shuffle.shuffle import Ranges

from .cell_ranges import documents_in, members_of
from .documents import STAGE, held_rows
from .large_cells import LARGE, LargeCells, divided
from .neighbours import neighbours, save_forest

CHUNK = 1 << 17
"""Documents whose vectors are held in memory; a cell with more is large."""
MERGED_ROWS = 1 << 22
"""Rows of forests after which they are connected."""


def list_members(store: Store, key: str, cells: Ranges, number: int, large: LargeCells, table: DocumentRows) -> None:
    """Write the lists of the documents that the tasks over a range and over its large cells compare."""
    ordinary, _ = divided(members_of(cells.read(store, number)))
    needed = {large.piece: documents_in(ordinary)}
    if large.cells:
        members = load_array(store.path(f"{STAGE}/{large.key}/{LARGE}"))
        needed |= {block.piece: members[block.start : block.end] for blocks in large.cells for block in blocks}
    with store.attempt(STAGE, key) as attempt:
        write_needed(attempt, needed, table)
        attempt.commit()


def find_neighbours(
    store: Store,
    key: str,
    cells: Ranges,
    number: int,
    table: DocumentRows,
    fetched: tuple[str, int] | None,
    threshold: float,
    forests: Sequence[str],
) -> None:
    """Write the forest of a range of cells over all shards of a group.

    Args:
        store: the store.
        key: of this output.
        cells: the records of documents by range of cells.
        number: of the range.
        table: the vectors.
        fetched: key of the shuffle that brought them, and the number of this task there. None: they are read from the
            shards.
        threshold: smallest cosine of an edge.
        forests: keys of those of large cells of the range.
    """
    listed, _ = divided(members_of(cells.read(store, number)))
    trees = np.zeros((0, 2), np.int64)
    shuffle, task = fetched or (None, 0)
    with opened_rows(store, key, table, shuffle, task, lambda: documents_in(listed)) as read:
        for members in _in_chunks(listed):
            held = documents_in(members)
            load = held_rows(held, read(held))
            trees = forest(np.concatenate([trees, *(neighbours(cell, load, threshold) for cell in members)]))
    save_forest(store, key, _with_forests(store, trees, forests))


def _in_chunks(members: Sequence[Documents]) -> Iterator[list[Documents]]:
    """Yield cells that together have up to CHUNK documents."""
    chunk: list[Documents] = []
    size = 0
    for cell in members:
        if chunk and size + len(cell) > CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(cell)
        size += len(cell)
    if chunk:
        yield chunk


def _with_forests(store: Store, trees: Pairs, forests: Sequence[str]) -> Pairs:
    """Add forests to trees, so many rows at a time that each row is merged a few times."""
    held: list[Pairs] = []
    for key in forests:
        held.append(load_array(store.path(f"{STAGE}/{key}/{FOREST}")))
        if sum(map(len, held)) > max(MERGED_ROWS, len(trees)):
            trees, held = forest(np.concatenate([trees, *held])), []
    return np.concatenate([trees, *held])
