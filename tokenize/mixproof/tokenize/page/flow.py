"""The flow of bytes, documents or tokens through a build: what enters each stage, and what leaves the data there.

Pure numbers. What leaves is either lost for a reason or set aside (held out, not drawn). For every source, what enters
a stage plus what the stage adds equals what leaves the data there plus what enters the next stage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Literal

from mixproof.ledger.account import StageRow, sum_rows
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import SplitRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.pipeline.record import OTHER_PART

Unit = Literal["bytes", "documents", "tokens"]
UNITS: tuple[Unit, ...] = ("bytes", "documents", "tokens")
MOST_EXITS = 10
"""Reasons of one stage that are shown one by one; the smallest others are added up."""
OTHERS = "other sources"
CELLS = "cells"
"""The ledger's row of the division of a source."""


@dataclass(frozen=True)
class Exit:
    """What leaves the data at a stage, by source."""

    label: str
    amounts: Mapping[str, int]
    lost: bool = True
    """False: set aside, for example held out."""

    @property
    def total(self) -> int:
        """Over all sources."""
        return sum(self.amounts.values())


@dataclass(frozen=True)
class Stage:
    """One stage, by source."""

    label: str
    entering: Mapping[str, int]
    """Of all sources, those that do not take part included."""
    takes_part: frozenset[str]
    exits: tuple[Exit, ...] = ()
    added: int = 0


@dataclass(frozen=True)
class Flow:
    """The flow of one build in one unit."""

    unit: Unit
    stages: tuple[Stage, ...]
    end: str
    """Name of what remains at the end."""
    remaining: Mapping[str, int]

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, the largest first."""
        entering = self.stages[0].entering
        return tuple(sorted(entering, key=lambda name: (-entering[name], name)))


def flow_of_texts(manifest: Manifest, unit: Literal["bytes", "documents"]) -> Flow:
    """Follow bytes or documents from the reader to the training and held-out sets.

    A source that was divided into cells after deduplication is followed as a whole, because its parts share the way up
    to the division.
    """
    sources = undivided(manifest)
    level = {name: _first(source, unit) for name, source in sources.items()}
    stages: list[Stage] = []
    for label, rows in rows_by_stage(sources):
        entering = dict(level)
        for name, row in rows.items():
            level[name] = getattr(row, f"{unit}_out")
        exits = _exits(rows, unit)
        added = sum(row.bytes_added for row in rows.values()) if unit == "bytes" else 0
        if exits or added or not stages:
            stages.append(Stage(label, entering, frozenset(rows), exits, added))
    held_out = {name: _held_out(source, unit) for name, source in sources.items()}
    stages.append(Stage("hold out", level, frozenset(sources), _kept_exits("held out", held_out)))
    return Flow(unit, tuple(stages), "training", {name: level[name] - held_out[name] for name in sources})


def flow_of_tokens(manifest: Manifest, drawn: Mapping[str, int] | None = None) -> Flow:
    """Follow tokens to the training and held-out sets, and on to the draws of runs if `drawn` is given, by source."""
    sources = undivided(manifest)
    train = {name: source.train.tokens for name, source in sources.items()}
    held_out = {name: source.heldout.tokens for name, source in sources.items()}
    whole = {name: train[name] + held_out[name] for name in sources}
    stages = [Stage("tokenize", whole, frozenset(sources), _kept_exits("held out", held_out))]
    if drawn is None:
        return Flow("tokens", tuple(stages), "training", train)
    cells = {whole: record.parts for whole, record in manifest.cells.items()}
    asked = {name: sum(drawn.get(part, 0) for part in cells.get(name, (name,))) for name in sources}
    taken = {name: min(asked[name], train[name]) for name in sources}
    not_drawn = {name: train[name] - taken[name] for name in sources}
    stages.append(Stage("draw", train, frozenset(sources), _kept_exits("not drawn", not_drawn)))
    return Flow("tokens", tuple(stages), "drawn for these runs", taken)


def merged(flow: Flow, shown: Collection[str]) -> Flow:
    """Add up the sources that are not in `shown`, and rare reasons, so that a drawing has few bands and labels."""
    names = flow.sources
    small = {name for name in names if name not in shown}
    other = f"{len(small)} {OTHERS}"

    def fold(amounts: Mapping[str, int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in names:
            key = other if name in small else name
            found[key] = found.get(key, 0) + amounts.get(name, 0)
        return found

    stages = tuple(
        Stage(
            stage.label,
            fold(stage.entering),
            frozenset(other if name in small else name for name in stage.takes_part),
            tuple(Exit(one.label, fold(one.amounts), one.lost) for one in _most(stage.exits)),
            stage.added,
        )
        for stage in flow.stages
    )
    return Flow(flow.unit, stages, flow.end, fold(flow.remaining))


def _most(exits: tuple[Exit, ...]) -> tuple[Exit, ...]:
    """The largest exits, and the sum of the others."""
    if len(exits) <= MOST_EXITS:
        return exits
    by_size = sorted(exits, key=lambda one: -one.total)
    shown, rest = by_size[: MOST_EXITS - 1], by_size[MOST_EXITS - 1 :]
    amounts: dict[str, int] = {}
    for one in rest:
        for name, amount in one.amounts.items():
            amounts[name] = amounts.get(name, 0) + amount
    return (*(one for one in exits if one in shown), Exit(f"{len(rest)} rarer reasons", amounts))


def undivided(manifest: Manifest) -> dict[str, SourceRecord]:
    """The sources, those that were divided into cells put together again."""
    sources = dict(manifest.sources)
    for whole, cells in manifest.cells.items():
        parts = [sources.pop(name) for name in cells.parts]
        divided = [row.stage for row in parts[0].ledger].index(CELLS)
        later = [sum_rows(rows) for rows in zip(*(part.ledger[divided + 1 :] for part in parts), strict=True)]
        train = parts[0].train.model_copy(update=_sums(part.train for part in parts))
        heldout = parts[0].heldout.model_copy(update=_sums(part.heldout for part in parts))
        ledger = (*parts[0].ledger[:divided], *cells.own_rows(), *later)
        sources[whole] = parts[0].model_copy(update={"ledger": ledger, "train": train, "heldout": heldout})
    return sources


def _sums(sides: Iterable[SplitRecord]) -> dict[str, int]:
    found = list(sides)
    return {unit: sum(getattr(side, unit) for side in found) for unit in UNITS}


def _first(source: SourceRecord, unit: Literal["bytes", "documents"]) -> int:
    """What a source's reader saw of it; records of the other parts of a split source are not its own."""
    read = source.ledger[0]
    other = read.dropped.get(OTHER_PART)
    return int(getattr(read, f"{unit}_in")) - (getattr(other, unit) if other else 0)


def _held_out(source: SourceRecord, unit: Literal["bytes", "documents"]) -> int:
    """What a source held out of its own text, in documents of the ledger."""
    if source.heldout.imported_from:
        return 0
    return source.heldout.bytes if unit == "bytes" else source.heldout.documents // source.documents_per_record


def _exits(rows: Mapping[str, StageRow], unit: Literal["bytes", "documents"]) -> tuple[Exit, ...]:
    found: dict[str, dict[str, int]] = {}
    for name, row in rows.items():
        for reason, count in row.dropped.items():
            if reason != OTHER_PART:
                found.setdefault(reason.replace("_", " "), {})[name] = getattr(count, unit)
        if unit == "bytes" and row.bytes_removed:
            found.setdefault("cut from kept documents", {})[name] = row.bytes_removed
    exits = (Exit(label, amounts) for label, amounts in sorted(found.items()))
    return tuple(one for one in exits if one.total)


def _kept_exits(label: str, amounts: Mapping[str, int]) -> tuple[Exit, ...]:
    return (Exit(label, amounts, lost=False),) if any(amounts.values()) else ()


def rows_by_stage(sources: Mapping[str, SourceRecord]) -> list[tuple[str, dict[str, StageRow]]]:
    """The stages in an order that suits all sources, each with the rows of the sources that pass it."""
    own = own_stages([row.stage for row in source.ledger] for source in sources.values())

    def node(row: StageRow, name: str) -> tuple[str, str]:
        return row.stage, name if row.stage in own else ""

    before: dict[tuple[str, str], list[tuple[str, str]]] = {}
    rows: dict[tuple[str, str], dict[str, StageRow]] = {}
    for name, source in sources.items():
        path = [node(row, name) for row in source.ledger]
        for stage, row in zip(path, source.ledger, strict=True):
            before.setdefault(stage, [])
            rows.setdefault(stage, {})[name] = row
        for one, other in pairwise(path):
            before[other].append(one)
    ordered = TopologicalSorter(before).static_order()
    return [(f"{stage} of {owner}" if owner else stage, rows[stage, owner]) for stage, owner in ordered]


def own_stages(paths: Iterable[list[str]]) -> set[str]:
    """Stages that sources pass in different orders, so that each source needs its own node for them."""
    pairs = {pair for path in paths for pair in pairwise(path)}
    own = set[str]()
    while True:
        before: dict[str, set[str]] = {}
        for one, other in pairs:
            if one not in own and other not in own:
                before.setdefault(other, set()).add(one)
        try:
            TopologicalSorter(before).prepare()
        except CycleError as error:
            own |= set(error.args[1])
        else:
            return own
