"""Draws: the part of a source that the runs of a spec can read.

Runs never open a whole build. A draw takes documents in the order of their text hashes until it has the tokens that the
runs need, rounded up to a power of two, so small changes of shares or budgets keep the draw. A source with fewer tokens
is drawn whole. If the runs simulate a larger one (`target.simulate`), the source is cut instead: the draw takes the
number of documents whose tokens come closest to the cut, and counts as the whole source, which its stream repeats. The
documents stay in the order of the dataset. Selecting by hash gives an unbiased sample that does not depend on file
order, and a larger draw contains every smaller one.

A draw is a dataset (`.bin`, `.idx`, provenance) in a folder keyed by its inputs:
`draw/<key>/<source>.{bin,idx,parquet}`, and `.mask` if the dataset has a mask of supervised tokens. While it is made,
the dataset's parts are checked against the manifest's checksums, so a truncated or replaced part never gets into a run.
E6 closes: draw + not drawn = dataset. Memory is about 200 bytes per document, for its provenance; tokens are copied in
blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.content import content_sha256
from mixproof.ledger.errors import AccountError, DamagedFileError, RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord, SplitRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.tokenize.dataset.indexed import Index, read_index, write_index
from mixproof.tokenize.dataset.provenance import SCHEMA, TableWriter, regroup
from mixproof.train.request import Draw, checksums_of

from .chosen_documents import choose_documents, choose_long, choose_part

DRAW = "draw"
DRAW_VERSION = 1
OF_CONVERSATIONS = ("supervised_tokens", "prompt_xxh128", "answer", "rating", "margin")
"""Columns of the provenance of conversations, pairs of answers and rated answers."""
BLOCK_TOKENS = 1 << 23
"""Tokens per copied block."""


def round_up_to_power_of_two(tokens: int) -> int:
    """Return the smallest power of two that is at least `tokens` and at least 1."""
    return 1 << max(tokens - 1, 0).bit_length()


class DrawSize(NamedTuple):
    """A draw that runs need."""

    source: str
    need_tokens: int
    """Tokens that the largest run reads of it in one pass: samples × sequence length + 1. A source with fewer tokens is
    drawn whole, and its stream repeats it."""
    cut_tokens: int | None = None
    """Unique tokens to which the source is cut, even if more are needed; a smaller source is not cut."""
    part: tuple[int, ...] | None = None
    """Tokens of the parts into which the source is divided, up to the one that is drawn, whole; see `part_numbers`."""
    is_all_there_is: bool = False
    """Whether the part is all that its phases can read, because the source has too few tokens for every length."""
    min_tokens: int | None = None
    """Fewest tokens of a document."""
    other_parts: tuple[int, ...] = ()
    """With `min_tokens`: tokens of the parts that other draws take; documents in none of them are drawn first."""


def make_draw(store: Store, manifest: Manifest, size: DrawSize) -> Draw:
    """Make or reuse a draw of the build in `store`.

    Raises:
        RequestError: when the source is not in the build or has no training documents.
        DamagedFileError: when a part of the dataset differs from the manifest.
        AccountError: when E6 does not close.
    """
    plan = _plan(manifest, size)
    receipt = store.receipt(DRAW, plan.key) or _write_draw(store, plan)
    return _draw_of(receipt, plan)


def find_draw(store: Store, manifest: Manifest, size: DrawSize) -> Draw | None:
    """Return the draw that `make_draw` would make if the store has it, else None.

    Raises:
        RequestError: when the source is not in the build or has no training documents.
    """
    plan = _plan(manifest, size)
    receipt = store.receipt(DRAW, plan.key)
    return None if receipt is None else _draw_of(receipt, plan)


@dataclass(frozen=True)
class _Plan:
    """A draw before it is made."""

    key: str
    dataset: SplitRecord
    size: DrawSize
    tokens: int
    """The least number of tokens to draw; with `cut`, the number to come closest to."""
    cut: bool

    def choose(self, hashes: pa.ChunkedArray, tokens: NDArray[np.int64]) -> tuple[NDArray[np.bool_], dict[str, int]]:
        """Return [documents] whether each is drawn, and the counts of the receipt."""
        size = self.size
        if size.part is not None:
            return choose_part(hashes, tokens, size.part), {}
        if size.min_tokens is None:
            return choose_documents(hashes, tokens, self.tokens, nearest=self.cut), {}
        chosen, is_shared = choose_long(hashes, tokens, self.tokens, size.min_tokens, size.other_parts)
        counted = {"available": tokens >= size.min_tokens, "shared": is_shared}
        counts = {f"{name}_documents": int(which.sum()) for name, which in counted.items()}
        return chosen, counts | {f"{name}_tokens": int(tokens[which].sum()) for name, which in counted.items()}


def _plan(manifest: Manifest, size: DrawSize) -> _Plan:
    source = size.source
    if source not in manifest.sources:
        raise RequestError(
            f"source {source}: not in build {manifest.build}, which has {', '.join(sorted(manifest.sources))}; build "
            "the spec again"
        )
    dataset = manifest.sources[source].train
    if not dataset.tokens:
        raise RequestError(
            f"source {source}: build {manifest.build} has no training documents of it; set its shares to 0, or check "
            "what the build filtered out"
        )
    cut = size.cut_tokens is not None and size.cut_tokens < dataset.tokens
    tokens = size.cut_tokens if size.cut_tokens is not None else round_up_to_power_of_two(size.need_tokens)
    tokens = min(tokens, dataset.tokens)
    config: dict[str, Any] = {"tokens": tokens, **({"cut": True} if cut else {})}
    if size.part is not None:
        config = {"part": list(size.part)}
    elif size.min_tokens is not None:
        config |= {"min_tokens": size.min_tokens, "other_parts": list(size.other_parts)}
    parts = [checksums_of(part) for part in dataset.datasets]
    key = stage_key(DRAW, DRAW_VERSION, config, {"source": source, "parts": parts})
    return _Plan(key, dataset, size, tokens, cut)


def _draw_of(receipt: Receipt, plan: _Plan) -> Draw:
    size, source = plan.size, plan.size.source
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
        provenance_sha256=receipt.files[f"{source}.parquet"].content_sha256,
        dataset_documents=documents if plan.cut else plan.dataset.documents,
        dataset_tokens=tokens if plan.cut else plan.dataset.tokens,
        cut_tokens=plan.tokens if plan.cut else None,
        mask_sha256=mask.sha256 if (mask := receipt.files.get(f"{source}.mask")) is not None else None,
        part=size.part,
        min_tokens=size.min_tokens,
        available_documents=documents if size.is_all_there_is else receipt.facts.get("available_documents"),
        available_tokens=tokens if size.is_all_there_is else receipt.facts.get("available_tokens"),
        shared_documents=receipt.facts.get("shared_documents"),
        shared_tokens=receipt.facts.get("shared_tokens"),
        other_parts=None if size.min_tokens is None else size.other_parts,
    )


def _write_draw(store: Store, plan: _Plan) -> Receipt:
    dataset, source = plan.dataset, plan.size.source
    indexes = [_checked_index(store, part, source) for part in dataset.datasets]
    provenance = pa.concat_tables(_read_rows(store.path(part.provenance)) for part in dataset.datasets)
    lengths = np.concatenate([index.lengths for index in indexes])
    _check_provenance(provenance, lengths, source)
    chosen, counts = plan.choose(provenance["text_xxh128"], lengths.astype(np.int64))
    _check_e6(dataset, lengths, chosen, source)
    drawn = provenance.filter(pa.array(chosen))
    drawn = drawn.set_column(0, SCHEMA.field("document"), pa.array(np.arange(drawn.num_rows, dtype=np.int64)))
    with store.attempt(DRAW, plan.key) as attempt:
        masked = any(part.mask_sha256 is not None for part in dataset.datasets)
        for suffix in ("bin", "mask") if masked else ("bin",):
            with attempt.path(f"{source}.{suffix}").open("wb") as file:
                first = 0
                for part, index in zip(dataset.datasets, indexes, strict=True):
                    of_part = chosen[first : first + len(index.lengths)]
                    dtype = index.dtype if suffix == "bin" else np.dtype(np.uint8)
                    for block in _chosen_blocks(store.path(f"{part.prefix}.{suffix}"), dtype, index, of_part):
                        file.write(block.data)
                    first += len(index.lengths)
        write_index(attempt.path(f"{source}.idx"), lengths[chosen], indexes[0].dtype)
        schema = SCHEMA if drawn.schema.names == SCHEMA.names else drawn.schema
        with TableWriter(attempt.path(f"{source}.parquet"), schema) as writer:
            for rows in regroup([drawn]):
                writer.write(rows)
        tokens = int(lengths[chosen].sum(dtype=np.int64))
        return attempt.commit(facts={"documents": drawn.num_rows, "tokens": tokens, **counts})


def _read_rows(path: Path) -> pa.Table:
    """Read the provenance of a part: the columns of every dataset, and those of conversations, pairs and ratings."""
    names = pq.read_schema(path).names
    more = [name for name in names if name in OF_CONVERSATIONS or name.startswith("attribute.")]
    return pq.read_table(path, columns=[*SCHEMA.names, *more])


def _checked_index(store: Store, part: DatasetRecord, source: str) -> Index:
    """Read a part's index after checking its files against the manifest."""
    files = {
        f"{part.prefix}.bin": part.bin_sha256,
        f"{part.prefix}.idx": part.idx_sha256,
        part.provenance: part.provenance_sha256,
        **({} if part.mask_sha256 is None else {f"{part.prefix}.mask": part.mask_sha256}),
    }
    for name, expected in files.items():
        path = store.path(name)
        if not path.is_file():
            raise DamagedFileError(name, "whole file", f"is missing from {store}; build source {source} again")
        found = content_sha256(path)
        if found != expected:
            raise DamagedFileError(
                name,
                f"{path.stat().st_size} bytes",
                f"its SHA-256 is {found}, the manifest says {expected}; delete its folder and build {source} again",
            )
    return read_index(store.path(f"{part.prefix}.idx"))


def _check_provenance(provenance: pa.Table, lengths: NDArray[np.int32], source: str) -> None:
    if provenance.num_rows != len(lengths) or not np.array_equal(provenance["tokens"].to_numpy(), lengths):
        raise AccountError(
            "E6",
            f"the token counts of {len(lengths)} documents in the index",
            f"different counts for {provenance.num_rows} documents in the provenance",
            source=source,
            stage=DRAW,
        )


def _check_e6(dataset: SplitRecord, lengths: NDArray[np.int32], chosen: NDArray[np.bool_], source: str) -> None:
    drawn, others = int(chosen.sum()), int((~chosen).sum())
    drawn_tokens, other_tokens = int(lengths[chosen].sum(dtype=np.int64)), int(lengths[~chosen].sum(dtype=np.int64))
    if (drawn + others, drawn_tokens + other_tokens) != (dataset.documents, dataset.tokens):
        raise AccountError(
            "E6",
            f"{dataset.documents} documents, {dataset.tokens} tokens in the dataset",
            f"{drawn} + {others} documents, {drawn_tokens} + {other_tokens} tokens drawn and not drawn",
            source=source,
            stage=DRAW,
        )


def _chosen_blocks(path: Path, dtype: np.dtype[Any], index: Index, chosen: NDArray[np.bool_]) -> Iterable[NDArray[Any]]:
    """Yield the ids, or the mask, of the chosen documents of one part, a block of documents at a time."""
    tokens = np.memmap(path, dtype, mode="r")
    starts = index.starts
    first = 0
    while first < len(chosen):
        last = max(int(np.searchsorted(starts, starts[first] + BLOCK_TOKENS, "right")) - 1, first + 1)
        block = tokens[starts[first] : starts[last]]
        yield np.ascontiguousarray(block[np.repeat(chosen[first:last], index.lengths[first:last])])
        first = last
