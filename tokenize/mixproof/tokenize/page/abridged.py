"""A build of many sources for a page: the largest sources, and one that sums up all others.

A page of 10,000 sources would have 70 MB. The sum is a record like any other, so every table, figure and equation of
the page holds for it, too. Of its datasets only some are listed, at equal distances, so that reading lengths takes as
long as for one large source. The whole manifest stays in the store, and the page states its path and SHA-256.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mixproof.ledger.account import StageRow, sum_rows
from mixproof.ledger.manifest import Manifest, MatrixRow
from mixproof.ledger.records.datasets import SplitRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.pipeline.record import OTHER_PART

from .build_evidence import BuildEvidence, Statement
from .flow import rows_by_stage, undivided

T = TypeVar("T")
MOST_SOURCES = 100
MOST_LISTED = 64
"""Datasets of the sum, and lists of what it lost, of each kind."""


@dataclass(frozen=True)
class Abridged:
    """A build as a page shows it."""

    build: BuildEvidence
    sentence: str = ""
    """What is left out; empty if nothing is."""


def abridged(build: BuildEvidence) -> Abridged:
    """Sum up all but the MOST_SOURCES sources with the most training tokens.

    Conversations are never summed up, because their documents and records are counted differently.
    """
    manifest, wholes = build.manifest, undivided(build.manifest)
    shown = _shown(manifest, wholes)
    others = {name: source for name, source in sorted(wholes.items()) if name not in shown}
    if len(others) < 2 or any(source.kind is not None for source in others.values()):
        return Abridged(build)
    name = f"{len(others):,} smaller sources"
    smaller = _manifest(manifest, others, name)
    statement = Statement(build.statement.path, smaller.to_bytes().decode(), build.statement.sha256)
    lists = _lists(build.circumstances.get("lists", {}), others, name)
    sentence = (
        f"This page shows the {len(shown)} sources with the most training tokens, and the sum of the {len(others):,} "
        f"others. The manifest in the store has all {len(wholes):,}; its text below is abridged in the same way."
    )
    return Abridged(BuildEvidence(smaller, statement, {**build.circumstances, "lists": lists}), sentence)


def _shown(manifest: Manifest, wholes: Mapping[str, SourceRecord]) -> set[str]:
    """The largest sources that have MOST_SOURCES parts together; a source that was not divided is one part."""
    shown: set[str] = set()
    parts = 0
    for name in sorted(wholes, key=lambda name: (-wholes[name].train.tokens, name)):
        parts += len(manifest.cells[name].parts) if name in manifest.cells else 1
        if parts > MOST_SOURCES:
            break
        shown.add(name)
    return shown


def _manifest(manifest: Manifest, others: Mapping[str, SourceRecord], name: str) -> Manifest:
    """The manifest with one source in place of `others`."""
    parts = {part for whole in others if whole in manifest.cells for part in manifest.cells[whole].parts}
    left_out = {*others, *parts}
    sources = {each: source for each, source in manifest.sources.items() if each not in left_out}
    declared = {each: one for each, one in manifest.spec.get("sources", {}).items() if each not in left_out}
    return manifest.model_copy(
        update={
            "spec": {**manifest.spec, "sources": declared},
            "sources": sources | {name: _sum(list(others.values()))},
            "dedup_matrix": tuple(_matrix(manifest.dedup_matrix, others, name)),
            "cells": {each: cells for each, cells in manifest.cells.items() if each not in others},
            "kept": {each: kept for each, kept in manifest.kept.items() if each not in others},
        }
    )


def _sum(sources: Sequence[SourceRecord]) -> SourceRecord:
    first, inputs = sources[0], [source.inputs for source in sources]
    counts = {unit: sum(getattr(each, unit) for each in inputs) for unit in ("files", "records", "bytes")}
    return first.model_copy(
        update={
            "inputs": first.inputs.model_copy(update={"path": "", "sha256": "", **counts}),
            "train": first.train.model_copy(update=_side([source.train for source in sources])),
            "heldout": first.heldout.model_copy(update=_side([source.heldout for source in sources]) | {"texts": None}),
            "ledger": tuple(_ledger(sources)),
            "cuts": (),
            "twins": None,
            "substring_cuts": (),
        }
    )


def _side(sides: Sequence[SplitRecord]) -> dict[str, Any]:
    parts = [part for side in sides for part in side.datasets]
    counts = {
        unit: sum(getattr(side, unit) for side in sides) for unit in ("documents", "tokens", "eod_tokens", "bytes")
    }
    return {**counts, "datasets": tuple(_spread(parts))}


def _spread(items: Sequence[T]) -> Sequence[T]:
    """Up to MOST_LISTED items at equal distances."""
    return items[:: max(1, -(-len(items) // MOST_LISTED))]


def _ledger(sources: Sequence[SourceRecord]) -> Iterable[StageRow]:
    """The rows of all sources, added up by stage; sources that do not pass a stage go through it unchanged."""
    named = {str(number): source for number, source in enumerate(sources)}
    level = {name: _level_before(source.ledger[0]) for name, source in named.items()}
    for _, rows in rows_by_stage(named):
        row = sum_rows(rows.values())
        passing = [each for name, each in level.items() if name not in rows]
        documents, size = sum(each[0] for each in passing), sum(each[1] for each in passing)
        yield row.model_copy(
            update={
                "documents_in": row.documents_in + documents,
                "documents_out": row.documents_out + documents,
                "bytes_in": row.bytes_in + size,
                "bytes_out": row.bytes_out + size,
            }
        )
        level |= {name: (one.documents_out, one.bytes_out) for name, one in rows.items()}


def _level_before(first: StageRow) -> tuple[int, int]:
    other = first.dropped.get(OTHER_PART)
    return (
        (first.documents_in, first.bytes_in)
        if other is None
        else (
            first.documents_in - other.documents,
            first.bytes_in - other.bytes,
        )
    )


def _matrix(rows: Iterable[MatrixRow], others: Collection[str], name: str) -> Iterable[MatrixRow]:
    """The losses of sources to each other, with those of `others` added up."""
    lost: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        pair = tuple(name if each in others else each for each in (row.source, row.lost_to))
        documents, size = lost.get((pair[0], pair[1]), (0, 0))
        lost[pair[0], pair[1]] = documents + row.documents, size + row.bytes
    for (source, keeper), (documents, size) in sorted(lost.items()):
        yield MatrixRow(source=source, lost_to=keeper, documents=documents, bytes=size)


def _lists(
    lists: Mapping[str, Mapping[str, Sequence[Any]]], others: Collection[str], name: str
) -> dict[str, Mapping[str, Sequence[Any]]]:
    """Lists of what sources lost: of `others` some of each kind."""
    kinds: dict[str, list[Any]] = {}
    for source in others:
        for kind, entries in lists.get(source, {}).items():
            kinds.setdefault(kind, []).extend(entries)
    own = {source: found for source, found in lists.items() if source not in others}
    return own | {name: {kind: _spread(entries) for kind, entries in kinds.items()}}
