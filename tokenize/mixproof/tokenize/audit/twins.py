"""Semantic duplicates: the list of each source against its ledger, and pairs of texts embedded again.

From the files, at depth `bytes`: each list is intact, in the order of the source, and as long as the ledger's row says.
Every cosine reaches the threshold, every document kept instead comes before the dropped one, by the declared priority,
and none is itself in a list.

At depth `replay`, up to MOST_PAIRS pairs are embedded again from their raw records, those with the smallest hashes.
As for clusters, the embedding is the code that the build used, because nothing else defines it; the cosine is computed
here, in Python's whole numbers. Not covered: pairs that the search missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import parse_number
from mixproof.pipeline.semantic.vectors import Embedding, embedding_of, semantic_table

from .arithmetic import SEMANTIC
from .cells import wholes_of
from .inputs import Inputs, read_table
from .report import Checks
from .rows import check_parquet

COLUMNS = {
    "file": "string",
    "record": "int64",
    "id": "string",
    "bytes": "int64",
    "kept_source": "string",
    "kept_file": "string",
    "kept_record": "int64",
    "cosine": "double",
}
REASON = "semantic_duplicate"
MOST_PAIRS = 10_000
BATCH_TEXTS = 256

Place = tuple[str, int]
"""A document of a source: its file, and its record there."""
Pair = dict[str, Any]
"""A row of a list, with `source`."""


def check_twins(root: Path, manifest: Manifest, inputs: Mapping[str, Inputs | None], checks: Checks) -> None:
    """Check the lists of all sources.

    Args:
        root: the store.
        manifest: of the build.
        inputs: the raw files of each source of the manifest.
        checks: take the results.
    """
    rules = (manifest.spec.get("dedup") or {}).get("semantic")
    wholes = wholes_of(manifest)
    known = {id(record): inputs[name] for name, record in manifest.sources.items()}
    tables: dict[str, pa.Table] = {}
    for name, source in wholes.items():
        at = checks.at(source=name, stage=SEMANTIC)
        row = next((row for row in source.ledger if row.stage == SEMANTIC), None)
        dropped = Count(documents=0, bytes=0) if row is None else row.dropped.get(REASON, Count(documents=0, bytes=0))
        at.equal("E2", "reasons to drop", [], sorted(set(row.dropped if row else ()) - {REASON}))
        listed = rules is not None and (rules.get("sources") is None or name in rules["sources"]) and row is not None
        at.equal("schema", "as having a list of semantic duplicates", listed, source.twins is not None)
        table = None if source.twins is None else _read_list(root, source, at)
        found = Count(documents=0, bytes=0)
        if table is not None:
            found = Count(documents=len(table), bytes=pc.sum(table["bytes"]).as_py() or 0)
            tables[name] = table
        at.equal("E2", "dropped by the list of semantic duplicates", dropped, found)
        if row is not None and source.twins is not None:
            most = row.documents_in
            at.true("E2", source.twins.compared <= most, f"at most {most} compared", f"{source.twins.compared}")
    if rules is not None:
        _check_pairs(tables, {name: known[id(record)] for name, record in wholes.items()}, manifest, checks)


def _read_list(root: Path, source: SourceRecord, checks: Checks) -> pa.Table | None:
    twins = source.twins
    assert twins is not None, "its list is read"
    path = check_parquet(root, twins.path, twins.sha256, checks)
    table = None if path is None else read_table(path, COLUMNS, checks.at(file=str(path)), nullable=["id"])
    if table is not None:
        checks.equal("E2", "documents", twins.documents, len(table))
    return table


def _check_pairs(
    tables: Mapping[str, pa.Table], inputs: Mapping[str, Inputs | None], manifest: Manifest, checks: Checks
) -> None:
    """Check cosines, order and who is kept, source by source."""
    rules = manifest.spec["dedup"]
    threshold = float(parse_number(rules["semantic"]["threshold"]))
    rank = {name: number for number, name in enumerate(rules["keep"])}
    positions = {}
    for name, table in tables.items():
        own = inputs[name]
        if own is not None:
            positions[name] = own.positions(table["file"].combine_chunks(), table["record"].to_numpy().copy())
    for name, table in tables.items():
        at = checks.at(source=name, stage=SEMANTIC)
        cosines = table["cosine"].to_numpy()
        at.equal("E2", f"cosines below {threshold}", 0, int((~(cosines >= threshold)).sum()))
        if name not in positions:
            continue
        steps = np.diff(np.append(-1, positions[name]))
        at.true("schema", bool((steps > 0).all()), "documents of the source in order, each once", "another order")
        for keeper in pc.unique(table["kept_source"]).to_pylist():
            if not at.true("schema", keeper in tables, "kept documents of a compared source", str(keeper)):
                continue
            is_here = pc.equal(table["kept_source"], keeper)
            pairs, own = table.filter(is_here), inputs[keeper]
            if own is None:
                continue
            kept = own.positions(pairs["kept_file"].combine_chunks(), pairs["kept_record"].to_numpy().copy())
            at.equal("E2", "kept documents that do not exist", 0, int((kept < 0).sum()))
            gone = positions.get(keeper, np.zeros(0, np.int64))
            at.equal("E2", "kept documents that are dropped themselves", 0, int(np.isin(kept, gone).sum()))
            dropped = positions[name][is_here.to_numpy(zero_copy_only=False)]
            before = (rank.get(keeper, len(rank)), keeper) < (rank.get(name, len(rank)), name)
            wrong = int((kept >= dropped).sum()) if keeper == name else 0 if before else len(kept)
            at.equal("E2", "kept documents after the dropped one", 0, wrong)


def pairs_to_replay(store: Store, manifest: Manifest) -> list[Pair]:
    """Up to MOST_PAIRS pairs, those with the smallest hashes of their places."""
    chosen: list[tuple[int, Pair]] = []
    for name, source in wholes_of(manifest).items():
        if source.twins is None:
            continue
        with pq.ParquetFile(store.path(source.twins.path)) as file:
            for batch in file.iter_batches(columns=[each for each in COLUMNS if each not in ("id", "bytes")]):
                for row in batch.to_pylist():
                    place = xxhash.xxh3_64_intdigest(f"{name}\n{row['file']}\n{row['record']}")
                    chosen.append((place, {**row, "source": name}))
                chosen = sorted(chosen, key=lambda each: each[0])[:MOST_PAIRS]
    return [pair for _, pair in chosen]


def embedding_to_replay(spec: Spec, manifest: Manifest, base: Path) -> Embedding | None:
    """The embedding of the spec; None if it does not look for semantic duplicates.

    Raises:
        RequestError: when the token table is missing, or is not the one that the build used.
    """
    rule = None if spec.dedup is None else spec.dedup.semantic
    table = semantic_table(spec, base)
    if rule is None or table is None:
        return None
    if manifest.spec["dedup"]["semantic"]["embedding"] != table.sha256:
        raise RequestError(
            f"{spec.where('dedup', 'semantic')}: the build used another token table or encoder than {table.table}; "
            "replay with that of the build, or audit with --depth bytes"
        )
    return embedding_of(rule, table)


def places_of(pairs: Sequence[Pair], source: str) -> dict[Place, bool]:
    """The documents of one source that `pairs` name, and whether they were dropped."""
    kept = {(each["kept_file"], each["kept_record"]): False for each in pairs if each["kept_source"] == source}
    return kept | {(each["file"], each["record"]): True for each in pairs if each["source"] == source}


@dataclass
class Reembedded:
    """Embeds documents of one source in batches."""

    embedding: Embedding | None
    places: Mapping[Place, bool]
    """The documents to embed, and whether each was dropped."""
    vectors: dict[Place, NDArray[np.int16]] = field(default_factory=dict)
    _pending: list[tuple[Place, str]] = field(default_factory=list)

    def add(self, place: Place, text: bytes | None, is_in_dataset: bool, checks: Checks) -> None:
        """Take a document that its steps left as `text`; other documents than `places` are passed over."""
        if place not in self.places:
            return
        if self.places[place]:
            checks.true("E2", not is_in_dataset, "a semantic duplicate that is in no dataset", "in a dataset")
        if checks.true("E2", text is not None, "a document that its steps keep", "a dropped document"):
            self._pending.append((place, (text or b"").decode()))
        if len(self._pending) == BATCH_TEXTS:
            self.flush()

    def flush(self) -> None:
        """Embed what has been taken."""
        if self.embedding is not None and self._pending:
            found = self.embedding.vectors([text for _, text in self._pending])
            self.vectors |= {place: vector for (place, _), vector in zip(self._pending, found, strict=True)}
        self._pending = []


def check_cosines(
    pairs: Sequence[Pair], vectors: Mapping[str, Mapping[Place, NDArray[np.int16]]], checks: Checks
) -> None:
    """Compare the cosine of each pair with the one in its list; `vectors` by source, those that were embedded."""
    for pair in pairs:
        one = vectors[pair["source"]].get((pair["file"], pair["record"]))
        other = vectors[pair["kept_source"]].get((pair["kept_file"], pair["kept_record"]))
        at = checks.at(source=pair["source"], stage=SEMANTIC, shard=f"{pair['file']} record {pair['record']}")
        if at.true("E1", one is not None and other is not None, "raw records of both documents", "a missing record"):
            at.equal(
                "E2", "as cosine with the kept document", pair["cosine"], _cosine(list(_ints(one)), list(_ints(other)))
            )


def _ints(vector: NDArray[np.int16] | None) -> Iterator[int]:
    yield from [] if vector is None else vector.tolist()


def _cosine(one: Sequence[int], other: Sequence[int]) -> float:
    squares = sum(value * value for value in one) * sum(value * value for value in other)
    product = sum(left * right for left, right in zip(one, other, strict=True))
    return product / math.sqrt(squares) if squares else 0.0
