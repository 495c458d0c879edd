"""Parts: join the encoded shards of a source into ordered datasets of bounded size.

A part is `<source>-<split>-00000.bin/.idx/.parquet`. It contains whole documents with at most `part_bytes` of ids; a
single larger document is a part of its own. Part boundaries depend only on the documents, and a part's key only on its
rows and the tokenizer, so neither depends on how the source was split into shards. The `.bin` is joined by copying
bytes; nothing is decoded. Because a key is computed from the rows, a receipt under `assemble/` remembers which slices
gave which key, so an unchanged part is found without reading its rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.records.source import SourceKind
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Attempt, Receipt, Store
from mixproof.ledger.store.batch import Outputs, open_batch
from mixproof.ledger.store.receipts import find_receipts
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.columns import array_of, read_whole
from mixproof.pipeline.labels.columns_of_rows import LabelledSource
from mixproof.pipeline.read.batches import share_tasks
from mixproof.tokenize.shard_tokens import MASK, PROVENANCE, TOKENS, EncodedShard

from .indexed import ends_of, token_dtype, write_index
from .provenance import Slice, TableWriter, digest_rows, read_part

STAGE = "encode"
"""The folder of parts in the store. The tokens of single shards are in another one (`shard_tokens.py`)."""
STAGE_VERSION = 2
ASSEMBLE = "assemble"
ASSEMBLE_VERSION = 1
PART_BYTES = 32_000_000_000
COPY_BYTES = 16 << 20
TASK_DOCUMENTS = 2_000
PARTS_PER_TASK = 64
"""Small parts share a task up to so many documents and parts; a source of its own has two parts at least."""
HELD_GROUPS = 4
"""A part with fewer row groups of provenance keeps them in memory, up to 40 MB, between hashing and writing."""


@dataclass(frozen=True)
class Part:
    """One part to make: its name and its slices of encoded shards."""

    name: str
    """`<source>-<split>-00000`."""
    source: str
    slices: tuple[Slice, ...]
    labels: LabelledSource | None = None
    """Labels of the source's documents, if it has any."""
    kind: SourceKind | None = None

    @property
    def documents(self) -> int:
        """Number of its documents."""
        return sum(piece.stop - piece.start for piece in self.slices)


def plan_parts(shards: Sequence[EncodedShard], store: Store, part_tokens: int) -> list[tuple[Slice, ...]]:
    """Divide a source's documents, in order, into parts of at most `part_tokens` tokens, EODs included.

    The two documents of a pair stay together. Document lengths are read only for shards in which a part ends.
    """
    parts: list[tuple[Slice, ...]] = []
    open_part: list[Slice] = []
    free_tokens = part_tokens
    for shard in shards:
        start, remaining = 0, shard.tokens
        together = 2 if shard.texts.kind == "preferences" else 1
        while remaining > free_tokens:
            ends = np.cumsum(read_lengths(store, shard)[start:])
            fitting = int(np.searchsorted(ends, free_tokens, side="right"))
            fitting -= fitting % together
            if fitting == 0 and not open_part:
                fitting = together  # a document, or a pair, larger than a part
            if fitting:
                open_part.append(_slice(shard, start, start + fitting))
                remaining -= int(ends[fitting - 1])
                start += fitting
            parts.append(tuple(open_part))
            open_part, free_tokens = [], part_tokens
        if remaining:
            open_part.append(_slice(shard, start, shard.documents))
            free_tokens -= remaining
    return [*parts, tuple(open_part)] if open_part else parts


def _slice(shard: EncodedShard, start: int, stop: int) -> Slice:
    return Slice(shard.output, shard.folder, start, stop, shard.texts.file, shard.texts.first_record)


def read_lengths(store: Store, shard: EncodedShard) -> NDArray[np.int64]:
    """Tokens of each document of an encoded shard, EODs included."""
    return _lengths(store.open(f"{shard.folder}/{PROVENANCE}")).astype(np.int64)


def _lengths(provenance: Path | BytesIO) -> NDArray[np.int32]:
    return array_of(read_whole(provenance, ["tokens"])["tokens"])


def make_datasets(
    splits: Sequence[tuple[str, str, Sequence[EncodedShard]]],
    tokenizer: TokenizerRecord,
    store: Store,
    cluster: Cluster,
    *,
    part_bytes: int = PART_BYTES,
    labels: Mapping[tuple[str, str], LabelledSource] = MappingProxyType({}),
) -> list[tuple[DatasetRecord, ...]]:
    """Make the parts of several sources at once.

    Args:
        splits: (source, `train` or `heldout`, its encoded shards in order).
        tokenizer: the tokenizer that encoded them.
        store: where the parts go.
        cluster: runs the tasks.
        part_bytes: maximum size of a part's `.bin`, in bytes.
        labels: by (source, `train` or `heldout`), the labels that their provenance has.

    Returns:
        The parts of each entry of `splits`, in order.

    Raises:
        AccountError: E5 or E6 does not close.
    """
    part_tokens = part_bytes // token_dtype(tokenizer.vocab_size).itemsize
    planned = [
        [
            Part(f"{source}-{split}-{index:05d}", source, slices, labels.get((source, split)), shards[0].texts.kind)
            for index, slices in enumerate(plan_parts(shards, store, part_tokens))
        ]
        for source, split, shards in splits
    ]
    parts = [part for split_parts in planned for part in split_parts]
    records = iter(_make_parts(parts, tokenizer, store, cluster))
    datasets = [tuple(next(records) for _ in split_parts) for split_parts in planned]
    for (source, split, shards), records_of_split in zip(splits, datasets, strict=True):
        _check_sum(source, split, shards, records_of_split)
    return datasets


def _check_sum(source: str, split: str, shards: Sequence[EncodedShard], parts: Sequence[DatasetRecord]) -> None:
    expected = (sum(shard.documents for shard in shards), sum(shard.tokens for shard in shards))
    found = (sum(part.documents for part in parts), sum(part.tokens for part in parts))
    if expected != found:
        template = "{} documents, {} tokens"
        expected_text, found_text = template.format(*expected), template.format(*found)
        raise AccountError("E6", expected_text, found_text, source=source, stage=f"{split} parts")


def _make_parts(
    parts: Sequence[Part], tokenizer: TokenizerRecord, store: Store, cluster: Cluster
) -> list[DatasetRecord]:
    memos = [_memo_key(part, tokenizer) for part in parts]
    known = _recall(store, memos)
    missing = {memo: part for memo, part in zip(memos, parts, strict=True) if memo not in known}
    shared = share_tasks(
        missing.items(), lambda item: item[1].documents, most_bytes=TASK_DOCUMENTS, most_items=PARTS_PER_TASK
    )
    calls = [(store, batch, tokenizer) for batch in shared]
    made = list(chain.from_iterable(cluster.run(assemble_parts, calls, label="assemble")))
    new = sum(is_new for _, is_new in made)
    known.update((memo, receipt) for memo, (receipt, _) in zip(missing, made, strict=True))
    cluster.count(run=new, reused=len(known) - new)
    return [_record(part.name, known[memo]) for memo, part in zip(memos, parts, strict=True)]


def _memo_key(part: Part, tokenizer: TokenizerRecord) -> str:
    config: dict[str, object] = {
        "name": part.name,
        "tokenizer": tokenizer.sha256,
        **ends_of(tokenizer),
        "encode": STAGE_VERSION,
    }
    if part.labels is not None:
        config["labels"] = [_label_columns(part.labels), [shard.plain() for shard in part.labels.shards]]
    return stage_key(ASSEMBLE, ASSEMBLE_VERSION, config, [piece.plain() for piece in part.slices])


def _label_columns(labels: LabelledSource) -> list[list[str]]:
    return [[column.name, column.kind] for column in labels.columns]


def _recall(store: Store, memos: Sequence[str]) -> dict[str, Receipt]:
    """The receipts of the finished parts in the store, by memo."""
    keys = {memo: str(receipt.facts["key"]) for memo, receipt in find_receipts(store, ASSEMBLE, memos).items()}
    parts = find_receipts(store, STAGE, keys.values())
    return {memo: parts[key] for memo, key in keys.items() if key in parts}


def _record(name: str, receipt: Receipt) -> DatasetRecord:
    prefix = f"{STAGE}/{receipt.key}/{name}"
    return DatasetRecord(
        prefix=prefix,
        documents=receipt.facts["documents"],
        tokens=receipt.facts["tokens"],
        bin_sha256=receipt.files[f"{name}.bin"].sha256,
        idx_sha256=receipt.files[f"{name}.idx"].sha256,
        provenance=f"{prefix}.parquet",
        provenance_sha256=receipt.files[f"{name}.parquet"].content_sha256,
        supervised_tokens=receipt.facts.get("supervised_tokens"),
        mask_sha256=receipt.files[f"{name}.mask"].sha256 if f"{name}.mask" in receipt.files else None,
    )


def assemble_parts(
    store: Store, parts: Sequence[tuple[str, Part]], tokenizer: TokenizerRecord
) -> list[tuple[Receipt, bool]]:
    """Make some parts, each with the key under which it is remembered (Ray task).

    Returns:
        Each part's receipt, and whether it was made now; False if a build with other shards had made it.

    Raises:
        AccountError: when E5 does not hold.
    """
    keyed = [_keyed(store, part, tokenizer) for _, part in parts]
    found: dict[str, Receipt] = dict(find_receipts(store, STAGE, [key for key, _ in keyed]))
    made = []
    memos = [memo for memo, _ in parts]
    with open_batch(store, ASSEMBLE, memos) as remembered, open_batch(store, STAGE, memos) as outputs:
        for (memo, part), (key, held) in zip(parts, keyed, strict=True):
            is_new = key not in found
            if is_new:
                found[key] = _make_part(store, part, key, held, tokenizer, outputs)
            with remembered.attempt(ASSEMBLE, memo) as attempt:
                attempt.commit(facts={"key": key})
            made.append((found[key], is_new))
    return made


def _keyed(store: Store, part: Part, tokenizer: TokenizerRecord) -> tuple[str, list[pa.Table]]:
    """The key of a part, and its first row groups."""
    groups = read_part(store, part.slices, PROVENANCE, part.labels)
    held = list(islice(groups, HELD_GROUPS))
    rows = digest_rows(chain(held, groups))
    config: dict[str, object] = {"name": part.name, "tokenizer": tokenizer.sha256, **ends_of(tokenizer)}
    if part.labels is not None:
        config["labels"] = _label_columns(part.labels)
    if part.kind is not None:  # rows say how many tokens are supervised, not which
        config |= {"kind": part.kind, "mask": _mask_digest(store, part.slices)}
    return stage_key(STAGE, STAGE_VERSION, config, rows), held


def _make_part(
    store: Store, part: Part, key: str, held: Sequence[pa.Table], tokenizer: TokenizerRecord, outputs: Outputs
) -> Receipt:
    """Write a part; `held` are its first row groups, or all if there are fewer than HELD_GROUPS."""
    with outputs.attempt(STAGE, key) as attempt:
        again = held if len(held) < HELD_GROUPS else read_part(store, part.slices, PROVENANCE, part.labels)
        return _write_part(store, part, again, token_dtype(tokenizer.vocab_size), attempt)


def _write_part(
    store: Store,
    part: Part,
    row_groups: Iterable[pa.Table],
    dtype: np.dtype[np.uint16] | np.dtype[np.int32],
    attempt: Attempt,
) -> Receipt:
    lengths: list[NDArray[np.int32]] = []
    supervised = 0
    groups = iter(row_groups)
    first = next(groups)
    with TableWriter(attempt.path(f"{part.name}.parquet"), first.schema) as provenance:
        for rows in chain([first], groups):
            provenance.write(rows)
            lengths.append(array_of(rows["tokens"]))
            if part.kind is not None:
                supervised += int(array_of(rows["supervised_tokens"]).sum())
    all_lengths = np.concatenate(lengths)
    tokens = int(all_lengths.sum(dtype=np.int64))
    bin_path = attempt.path(f"{part.name}.bin")
    with bin_path.open("wb") as out:
        for piece in part.slices:
            for block in _read_blocks(store, piece, TOKENS, dtype.itemsize):
                out.write(block)
    size = bin_path.stat().st_size
    if size != tokens * dtype.itemsize:
        expected = f"{tokens} tokens of {dtype.itemsize} bytes"
        raise AccountError("E5", expected, f"{size} bytes", source=part.source, stage=STAGE, unit=part.name)
    write_index(attempt.path(f"{part.name}.idx"), all_lengths, dtype)
    facts = {"documents": len(all_lengths), "tokens": tokens}
    if part.kind is not None:
        _write_mask(store, part, tokens, supervised, attempt.path(f"{part.name}.mask"))
        facts["supervised_tokens"] = supervised
    return attempt.commit(facts=facts)


def _write_mask(store: Store, part: Part, tokens: int, supervised: int, path: Path) -> None:
    """Join the masks of a part.

    Raises:
        AccountError: E5, when there is not one value per token, or they are not those of the provenance.
    """
    size = ones = 0
    with path.open("wb") as out:
        for piece in part.slices:
            for block in _read_blocks(store, piece, MASK, 1):
                out.write(block)
                size, ones = size + len(block), ones + block.count(1)
    if (size, ones) != (tokens, supervised):
        expected, found = f"{tokens} tokens, {supervised} supervised", f"a mask of {size}, {ones} supervised"
        raise AccountError("E5", expected, found, source=part.source, stage=STAGE, unit=part.name)


def _mask_digest(store: Store, slices: Sequence[Slice]) -> str:
    digest = hashlib.sha256()
    for piece in slices:
        for block in _read_blocks(store, piece, MASK, 1):
            digest.update(block)
    return digest.hexdigest()


def _read_blocks(store: Store, piece: Slice, name: str, itemsize: int) -> Iterator[bytes]:
    """The bytes of a slice in the tokens or in the mask of its shard."""
    file, provenance = store.open_together(piece.folder, (name, PROVENANCE))
    with file.open("rb") if isinstance(file, Path) else file as tokens:
        start, stop = _token_range(provenance, piece, tokens.seek(0, os.SEEK_END) // itemsize)
        tokens.seek(start * itemsize)
        remaining = (stop - start) * itemsize
        while remaining and (block := tokens.read(min(COPY_BYTES, remaining))):
            remaining -= len(block)
            yield block


def _token_range(provenance: Path | BytesIO, piece: Slice, tokens: int) -> tuple[int, int]:
    """The range of tokens (first, end) of a slice, in a shard of `tokens` tokens."""
    if (piece.start, piece.stop) == (0, pq.read_metadata(provenance).num_rows):
        return 0, tokens
    lengths = _lengths(provenance)
    start = int(lengths[: piece.start].sum(dtype=np.int64))
    return start, start + int(lengths[piece.start : piece.stop].sum(dtype=np.int64))
