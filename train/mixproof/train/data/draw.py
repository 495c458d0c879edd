"""Draws: the part of a source that a family of runs can touch.

Runs never open a whole build. A draw takes documents by the rank of their text's hash until it holds the
tokens that its runs need, rounded up to a power of two, so that small changes of shares or budgets keep the
draw; a source with fewer tokens is drawn whole. Where the runs stand for a larger one (`target.simulate`), the
source is cut instead: as many documents as come nearest to the tokens of the cut, and the draw then counts as the
whole source, which its stream repeats. The documents stand in the order of the dataset. Taking by hash makes a draw
a fair sample that does not depend on file order, and a larger draw holds every smaller one.

A draw is a dataset like any other (`.bin`, `.idx`, provenance), named by what it is made of:
`draw/<key>/<source>.{bin,idx,parquet}`. The parts it is cut from are checked against the manifest's checksums
while it is made, so that a part that was truncated or replaced never gets into a run. E6 closes: draw + not
drawn = dataset. Memory is some 200 bytes a document, for its provenance; tokens are copied in blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError, DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file, stage_key
from mixproof.ledger.manifest import DatasetRecord, Manifest, SplitRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.tokenize.dataset.indexed import Index, read_index, write_index
from mixproof.tokenize.dataset.provenance import SCHEMA, TableWriter, regroup
from mixproof.train.request import Draw

DRAW = "draw"
DRAW_VERSION = 1
BLOCK_TOKENS = 1 << 23
"""Tokens copied at a time."""


def round_up_to_power_of_two(tokens: int) -> int:
    """The smallest power of two that is not below `tokens`; 1 for anything below 1."""
    return 1 << max(tokens - 1, 0).bit_length()


def make_draw(store: Store, manifest: Manifest, source: str, need_tokens: int, cut_tokens: int | None = None) -> Draw:
    """Make the draw of `source` that supplies at least `need_tokens`, or reuse it.

    Args:
        store: holds the build's datasets and receives the draw.
        manifest: of the build.
        source: a source with training documents.
        need_tokens: what the most demanding run of the family reads in one pass: samples × sequence length
            + 1. A source with fewer tokens is drawn whole, and repeated by its stream.
        cut_tokens: unique tokens to which the source is cut, whatever the need; a source with fewer is not cut.

    Raises:
        RequestError: when the source is not in the build or has no training documents.
        DamagedFileError: when a part is not what the manifest says.
        AccountError: when E6 does not close.
    """
    plan = _plan(manifest, source, need_tokens, cut_tokens)
    receipt = store.receipt(DRAW, plan.key) or _write_draw(store, plan, source)
    return _draw_of(receipt, plan, source)


def find_draw(
    store: Store, manifest: Manifest, source: str, need_tokens: int, cut_tokens: int | None = None
) -> Draw | None:
    """Return the draw that `make_draw` would make, where it lies finished in the store.

    Raises:
        RequestError: when the source is not in the build or has no training documents.
    """
    plan = _plan(manifest, source, need_tokens, cut_tokens)
    receipt = store.receipt(DRAW, plan.key)
    return None if receipt is None else _draw_of(receipt, plan, source)


@dataclass(frozen=True)
class _Plan:
    """What a draw is to be, before it is made."""

    key: str
    dataset: SplitRecord
    tokens: int
    """That its documents hold at least; that they come nearest to where the source is cut."""
    cut: bool


def _plan(manifest: Manifest, source: str, need_tokens: int, cut_tokens: int | None) -> _Plan:
    if source not in manifest.sources:
        raise RequestError(f"source {source} is not in the build; it has {', '.join(sorted(manifest.sources))}")
    dataset = manifest.sources[source].train
    if not dataset.tokens:
        raise RequestError(f"source {source}: no training document is left, so no run can draw from it")
    cut = cut_tokens is not None and cut_tokens < dataset.tokens
    tokens = cut_tokens if cut_tokens is not None else round_up_to_power_of_two(need_tokens)
    tokens = min(tokens, dataset.tokens)
    parts = [[part.bin_sha256, part.idx_sha256, part.provenance_sha256] for part in dataset.datasets]
    config = {"tokens": tokens, **({"cut": True} if cut else {})}
    return _Plan(stage_key(DRAW, DRAW_VERSION, config, {"source": source, "parts": parts}), dataset, tokens, cut)


def choose_documents(
    hashes: pa.ChunkedArray, tokens: NDArray[np.int64], need: int, *, nearest: bool = False
) -> NDArray[np.bool_]:
    """Mark the documents of smallest text hash that together hold at least `need` tokens.

    Equal hashes are taken in the order of the dataset.

    Args:
        hashes: [documents] XXH3-128 of each text, in hexadecimal.
        tokens: [documents] tokens of each.
        need: tokens; all documents are taken where they hold less.
        nearest: leave the last document out where the others come nearer to `need` without it.
    """
    rows = pa.table({"hash": hashes, "place": np.arange(len(tokens))})
    order = pc.sort_indices(rows, [("hash", "ascending"), ("place", "ascending")]).to_numpy()
    supply = np.cumsum(tokens[order])
    taken = int(np.searchsorted(supply, need)) + 1
    if nearest and 1 < taken <= len(supply) and need - supply[taken - 2] < supply[taken - 1] - need:
        taken -= 1
    chosen = np.zeros(len(tokens), np.bool_)
    chosen[order[:taken]] = True
    return chosen


def _draw_of(receipt: Receipt, plan: _Plan, source: str) -> Draw:
    folder = f"{DRAW}/{receipt.key}"
    documents, tokens = receipt.facts["documents"], receipt.facts["tokens"]
    return Draw(
        source=source,
        key=receipt.key,
        prefix=f"{folder}/{source}",
        documents=documents,
        tokens=tokens,
        bin_sha256=receipt.files[f"{source}.bin"].sha256,
        idx_sha256=receipt.files[f"{source}.idx"].sha256,
        provenance=f"{folder}/{source}.parquet",
        provenance_sha256=receipt.files[f"{source}.parquet"].sha256,
        dataset_documents=documents if plan.cut else plan.dataset.documents,
        dataset_tokens=tokens if plan.cut else plan.dataset.tokens,
        cut_tokens=plan.tokens if plan.cut else None,
    )


def _write_draw(store: Store, plan: _Plan, source: str) -> Receipt:
    dataset = plan.dataset
    indexes = [_checked_index(store, part, source) for part in dataset.datasets]
    provenance = pa.concat_tables(pq.read_table(store.path(part.provenance)) for part in dataset.datasets)
    lengths = np.concatenate([index.lengths for index in indexes])
    _check_provenance(provenance, lengths, source)
    chosen = choose_documents(provenance["text_xxh128"], lengths.astype(np.int64), plan.tokens, nearest=plan.cut)
    _check_e6(dataset, lengths, chosen, source)
    drawn = provenance.filter(pa.array(chosen))
    drawn = drawn.set_column(0, SCHEMA.field("document"), pa.array(np.arange(drawn.num_rows, dtype=np.int64)))
    with store.attempt(DRAW, plan.key) as attempt:
        path = attempt.path(f"{source}.bin")
        with path.open("wb") as file:
            first = 0
            for part, index in zip(dataset.datasets, indexes, strict=True):
                mask = chosen[first : first + len(index.lengths)]
                for block in _chosen_blocks(store.path(f"{part.prefix}.bin"), index, mask):
                    file.write(block.data)
                first += len(index.lengths)
        write_index(attempt.path(f"{source}.idx"), lengths[chosen], indexes[0].dtype)
        with TableWriter(attempt.path(f"{source}.parquet"), SCHEMA) as writer:
            for rows in regroup([drawn]):
                writer.write(rows)
        return attempt.commit(facts={"documents": drawn.num_rows, "tokens": int(lengths[chosen].sum(dtype=np.int64))})


def _checked_index(store: Store, part: DatasetRecord, source: str) -> Index:
    """The part's index, after its three files have been compared with the manifest."""
    files = {
        f"{part.prefix}.bin": part.bin_sha256,
        f"{part.prefix}.idx": part.idx_sha256,
        part.provenance: part.provenance_sha256,
    }
    for name, expected in files.items():
        path = store.path(name)
        if not path.is_file():
            raise DamagedFileError(name, "whole file", f"is missing; build source {source} again")
        found = sha256_of_file(path)
        if found != expected:
            raise DamagedFileError(
                name,
                f"{path.stat().st_size} bytes",
                f"SHA-256 is {found}, the manifest says {expected}; delete its folder and build source {source} again",
            )
    return read_index(store.path(f"{part.prefix}.idx"))


def _check_provenance(provenance: pa.Table, lengths: NDArray[np.int32], source: str) -> None:
    if provenance.num_rows != len(lengths) or not np.array_equal(provenance["tokens"].to_numpy(), lengths):
        raise AccountError(
            "E6",
            f"the tokens of {len(lengths)} documents by the index",
            f"others for {provenance.num_rows} documents by the provenance",
            source=source,
            stage=DRAW,
        )


def _check_e6(dataset: SplitRecord, lengths: NDArray[np.int32], chosen: NDArray[np.bool_], source: str) -> None:
    drawn, left = int(chosen.sum()), int((~chosen).sum())
    drawn_tokens, left_tokens = int(lengths[chosen].sum(dtype=np.int64)), int(lengths[~chosen].sum(dtype=np.int64))
    if (drawn + left, drawn_tokens + left_tokens) != (dataset.documents, dataset.tokens):
        raise AccountError(
            "E6",
            f"{dataset.documents} documents, {dataset.tokens} tokens in the dataset",
            f"{drawn} + {left} documents, {drawn_tokens} + {left_tokens} tokens drawn and not drawn",
            source=source,
            stage=DRAW,
        )


def _chosen_blocks(path: Path, index: Index, chosen: NDArray[np.bool_]) -> Iterable[NDArray[Any]]:
    """The ids of the chosen documents of one part, a block of documents at a time."""
    tokens = np.memmap(path, index.dtype, mode="r")
    starts = index.starts
    first = 0
    while first < len(chosen):
        last = max(int(np.searchsorted(starts, starts[first] + BLOCK_TOKENS, "right")) - 1, first + 1)
        block = tokens[starts[first] : starts[last]]
        yield np.ascontiguousarray(block[np.repeat(chosen[first:last], index.lengths[first:last])])
        first = last
