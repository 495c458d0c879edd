"""Adopt: use an existing `.bin/.idx` as a source. Every id is checked, counted and copied; nothing is encoded.

Each pair of files is one shard and one Ray task. The index is checked (`foreign_index.py`), then the ids are read once
in blocks: each must be below the vocabulary size, with an EOD at the end of each document and nowhere else. The output
has the same form as that of `encode` (ids in the dtype of the vocabulary, one provenance row per document), so parts,
draws, trace and audit treat both alike. There are no texts: bytes are 0, nothing is deduplicated, decontaminated or
held out, and `text_xxh128` is the hash of the document's ids (int32, little-endian, without EOD), because runs draw
documents by it.

Documents without ids, or with only an EOD, are dropped and counted as `no_tokens`: an index cannot hold them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.account import Count, StageRow, sum_rows
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.datasets import HeldoutRecord, SplitRecord
from mixproof.ledger.records.inputs import InputsRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Attempt, Receipt, Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, run_missing
from mixproof.pipeline.columns import column_of, numbers
from mixproof.pipeline.inputs.files import InputFile, index_name
from mixproof.pipeline.read.identify import identify
from mixproof.pipeline.read.inputs import write_inputs
from mixproof.pipeline.readers.raw import open_input
from mixproof.pipeline.readers.unchanged import verified
from mixproof.tokenize.shard_tokens import PROVENANCE, TOKENS, EncodedShard, Texts

from .foreign_index import ForeignIndex, read_foreign_index
from .foreign_pair import Pair, check_block, check_dtype, check_unchanged
from .indexed import ends_of, token_dtype
from .parts import make_datasets
from .provenance import OPEN_SCHEMA, TableWriter, regroup

STAGE = "adopt"
STAGE_VERSION = 1
READ = "read"
NO_TOKENS = "no_tokens"
BLOCK_TOKENS = 1 << 23
"""Tokens per block; a longer document is a block of its own."""


def adopt_sources(
    spec: Spec,
    files: Mapping[str, Sequence[InputFile]],
    tokenizer: TokenizerRecord,
    store: Store,
    cluster: Cluster,
    *,
    part_bytes: int,
) -> dict[str, SourceRecord]:
    """Check all `megatron` sources of a spec, copy their datasets into the store, and return their records.

    Args:
        spec: a checked spec.
        files: every source's files, from `find_files`.
        tokenizer: the tokenizer of the build, which must also be that of these ids.
        store: where the datasets go.
        cluster: runs the tasks.
        part_bytes: maximum size of a part's `.bin`, in bytes.

    Raises:
        RequestError: when ids, EODs or the declared tokenizer are not those of the build's tokenizer.
        DamagedFileError: when a file is truncated or an index does not describe its `.bin`.
    """
    names = [name for name, source in spec.sources.items() if source.megatron is not None]
    for name in names:
        _check_tokenizer(spec, name, tokenizer)
    adopted = {name: files[name] for name in names}
    sha256 = identify((file for found in adopted.values() for file in found), store, cluster)
    pairs = [pair for name in names for pair in _pairs(name, adopted[name], sha256)]
    _check_copies(spec, pairs)
    receipts = _adopt(pairs, tokenizer, store, cluster)
    shards: dict[str, list[EncodedShard]] = {name: [] for name in names}
    for pair, receipt in zip(pairs, receipts, strict=True):
        shards[pair.source].append(_shard(pair, receipt))
    splits = [(name, "train", shards[name]) for name in names]
    datasets = make_datasets(splits, tokenizer, store, cluster, part_bytes=part_bytes)
    inputs = write_inputs(adopted, {name: _records_of(adopted[name], shards[name]) for name in names}, sha256, store)
    return {
        name: _record(name, shards[name], SplitRecord(**_counts(shards[name]), datasets=parts), inputs[name])
        for name, parts in zip(names, datasets, strict=True)
    }


def _check_tokenizer(spec: Spec, name: str, tokenizer: TokenizerRecord) -> None:
    given = spec.sources[name].tokenizer_sha256
    if given is not None and given != tokenizer.sha256:
        where = spec.where("sources", name, "tokenizer_sha256")
        raise RequestError(
            f"{where}: these tokens were made with tokenizer {given}, but the build's tokenizer is {tokenizer.sha256}; "
            "their ids mean other text: set `tokenizer` to the one that made them, or build from the texts"
        )


def _pairs(name: str, files: Sequence[InputFile], sha256: Mapping[str, str]) -> Iterator[Pair]:
    index_of = {file.name: file for file in files}
    for file in files:
        index = index_name(file.name)
        if index is not None:
            idx = index_of[index]
            yield Pair(name, file.name, file.url, file.bytes, idx.url, (sha256[file.url], sha256[idx.url]))


def _check_copies(spec: Spec, pairs: Sequence[Pair]) -> None:
    """Refuse two `.bin` of equal content: their tokens would count twice, and nothing removes duplicates here.

    Raises:
        RequestError: naming both files.
    """
    first_with: dict[str, Pair] = {}
    for pair in pairs:
        first = first_with.setdefault(pair.sha256[0], pair)
        if first is not pair and pair.bin_bytes:
            raise RequestError(
                f"{spec.where('sources', pair.source, 'megatron')}: {pair.bin_url} has the same content as "
                f"{first.bin_url} of source {first.source}; every dataset may be read once, so remove one of them"
            )


def _adopt(pairs: Sequence[Pair], tokenizer: TokenizerRecord, store: Store, cluster: Cluster) -> list[Receipt]:
    keys = [_key(pair, tokenizer) for pair in pairs]

    def calls(missing: dict[str, Pair]) -> list[Call]:
        return [(store, key, pair, tokenizer) for key, pair in missing.items()]

    work = dict(zip(keys, pairs, strict=True))
    receipts = run_missing(store, STAGE, work, calls, adopt_pair, cluster, "adopt")
    return [receipts[key] for key in keys]


def _key(pair: Pair, tokenizer: TokenizerRecord) -> str:
    config = {"vocab_size": tokenizer.vocab_size, **ends_of(tokenizer)}
    return stage_key(STAGE, STAGE_VERSION, config, list(pair.sha256))


def adopt_pair(store: Store, key: str, pair: Pair, tokenizer: TokenizerRecord) -> Receipt:
    """Check one pair and copy its ids (Ray task).

    Raises:
        RequestError: when an id or an EOD is not one of the tokenizer, or a file is not the one that was identified.
        DamagedFileError: when a file is truncated or the index does not describe the `.bin`.
    """
    with store.attempt(STAGE, key) as attempt:
        with verified(pair.bin_url, pair.sha256[0]), verified(pair.idx_url, pair.sha256[1]):
            row, tokens = _copy_pair(attempt, pair, tokenizer)
        return attempt.commit(account=(row,), facts={"tokens": tokens})


def _copy_pair(attempt: Attempt, pair: Pair, tokenizer: TokenizerRecord) -> tuple[StageRow, int]:
    """Write ids and provenance; return the account and the tokens kept."""
    index = read_foreign_index(pair.idx_url, pair.bin_url, pair.bin_bytes)
    check_unchanged(pair.idx_url, pair.sha256[1], index.sha256)
    check_dtype(pair, index, tokenizer)
    dtype = token_dtype(tokenizer.vocab_size)
    with (
        open_input(pair.bin_url) as ids,
        attempt.path(TOKENS).open("wb") as out,
        TableWriter(attempt.path(PROVENANCE), OPEN_SCHEMA) as provenance,
    ):
        for rows in regroup(_copy(pair, index, tokenizer, ids, out, dtype)):
            provenance.write(rows)
    kept = index.lengths > tokenizer.around
    empty = int(np.count_nonzero(~kept))
    row = StageRow(
        stage=READ,
        documents_in=len(kept),
        documents_out=len(kept) - empty,
        bytes_in=0,
        bytes_out=0,
        dropped={NO_TOKENS: Count(documents=empty, bytes=0)} if empty else {},
    )
    return row.check(source=pair.source, unit=pair.file), int(index.lengths[kept].sum())


def _copy(
    pair: Pair,
    index: ForeignIndex,
    tokenizer: TokenizerRecord,
    ids: BinaryIO,
    out: BinaryIO,
    dtype: np.dtype[np.uint16] | np.dtype[np.int32],
) -> Iterator[pa.Table]:
    """Copy the ids in blocks; yield the provenance of each block."""
    ends = np.cumsum(index.lengths)
    digest = hashlib.sha256()
    first = 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, before + BLOCK_TOKENS, "right")), first + 1)
        lengths = index.lengths[first:last]
        size = int(lengths.sum())
        raw = ids.read(size * index.dtype.itemsize)
        digest.update(raw)
        block = np.frombuffer(raw, index.dtype.newbyteorder("<")).astype(np.int32)
        if len(block) != size:
            raise RequestError(
                f"{pair.bin_url}: the file became shorter while it was read; build when it is completely written"
            )
        check_block(pair, tokenizer, block, lengths, first)
        kept = lengths > tokenizer.around
        out.write(block[np.repeat(kept, lengths)].astype(dtype).data)
        yield _provenance(block, lengths, kept, first)
        first = last
    check_unchanged(pair.bin_url, pair.sha256[0], digest.hexdigest())


def _provenance(ids: NDArray[np.int32], lengths: NDArray[np.int64], kept: NDArray[np.bool_], first: int) -> pa.Table:
    ends = np.cumsum(lengths)
    raw = ids.astype("<i4", copy=False).tobytes()
    hashes = [
        xxhash.xxh3_128_hexdigest(raw[4 * (end - length) : 4 * (end - 1)])
        for end, length in zip(ends[kept].tolist(), lengths[kept].tolist(), strict=True)
    ]
    rows = len(hashes)
    records = np.arange(first, first + len(lengths), dtype=np.int64)[kept]
    columns = [
        pa.nulls(rows, pa.string()),
        numbers(records),
        pa.nulls(rows, pa.string()),
        column_of(hashes, pa.string()),
        numbers(np.zeros(rows, np.int64)),
        numbers(lengths[kept].astype(np.int32)),
    ]
    return pa.table(columns, schema=OPEN_SCHEMA)


def _shard(pair: Pair, receipt: Receipt) -> EncodedShard:
    (row,) = receipt.account
    return EncodedShard(
        texts=Texts("", "", None, pair.file, 0, pair.source),
        output=f"{STAGE}/{receipt.key}",
        folder=receipt.folder,
        documents=row.documents_out,
        tokens=receipt.facts["tokens"],
        row=row,
        engine="none: ids as they are",
        rechecked=0,
    )


def _counts(shards: Sequence[EncodedShard]) -> dict[str, int]:
    documents = sum(shard.documents for shard in shards)
    return {
        "documents": documents,
        "tokens": sum(shard.tokens for shard in shards),
        "eod_tokens": documents,
        "bytes": 0,
    }


def _records_of(files: Sequence[InputFile], shards: Sequence[EncodedShard]) -> dict[str, int]:
    """Records of each raw file of a source; the documents of a pair count as records of its `.bin`."""
    records = dict.fromkeys((file.name for file in files), 0)
    records.update((shard.texts.file, shard.row.documents_in) for shard in shards)
    return records


def _record(name: str, shards: Sequence[EncodedShard], train: SplitRecord, inputs: InputsRecord) -> SourceRecord:
    row = sum_rows([shard.row for shard in shards])
    if not row.documents_out:
        raise RequestError(f"sources.{name}: its `.bin/.idx` contain no document with tokens; set other files")
    heldout = HeldoutRecord(documents=0, tokens=0, eod_tokens=0, bytes=0, datasets=())
    return SourceRecord(inputs=inputs, train=train, heldout=heldout, ledger=(row,))
