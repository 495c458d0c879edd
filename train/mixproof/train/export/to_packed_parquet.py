"""Export of a source of conversations as Megatron-Bridge's packed Parquet: whole conversations, packed by best fit.

    <source>-00000.idx.parquet    a row per pack: `input_ids`, `seq_start_id` (list<int32>), `loss_mask` (list<int8>)
    source.json                   counts, the build and the tokenizer

Form: github.com/NVIDIA-NeMo/Megatron-Bridge, `GPTSFTPackedParquetDataset`. `seq_start_id` holds the first position of
each conversation in `input_ids`. Its collator takes position i of a conversation as input, i + 1 as label, and
`loss_mask[i]` as the weight of that label. So a conversation's mask is shifted by one: `loss_mask[i]` is 1 where token
i + 1 is supervised, and its last value is 0. A conversation's first token is never a label.

The file is read back, and every conversation must be in it once, with its mask.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.train.data.packing import pack_documents

from .output_folder import output_folder
from .source_side import MaskedDocuments, conversations_of, masked_documents

STATEMENT = "source.json"
ROW_GROUP_PACKS = 500
FILE_PACKS = 50_000
SCHEMA = pa.schema(
    [
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("seq_start_id", pa.list_(pa.int32())),
        pa.field("loss_mask", pa.list_(pa.int8())),
    ]
)


@dataclass(frozen=True)
class Packed:
    """A finished export."""

    source: str
    conversations: int
    packs: int
    tokens: int
    """EODs included; no padding is written."""
    supervised_tokens: int
    """Tokens with weight in the loss."""
    longer: int
    """Conversations longer than the pack, each in a row of its own."""
    files: tuple[str, ...]


def export_packed_parquet(manifest: Manifest, store: Store, name: str, sequence_length: int, folder: Path) -> Packed:
    """Write every training conversation of a source once.

    Args:
        manifest: of the build in `store`.
        store: where the datasets are.
        name: of the source.
        sequence_length: tokens of a pack.
        folder: an empty folder, or one that does not exist yet.

    Raises:
        RequestError: when the source has no conversations to imitate.
        DamagedFileError: when a file of the build is damaged, or the export does not read back as written.
    """
    record = conversations_of(manifest, name)
    if record.kind != "chat":
        raise RequestError(
            f"--source {name}: packed-parquet trains on every answer, and this source of {record.kind} has answers "
            "that must not be imitated; use --format trl"
        )
    parts = list(masked_documents(store, record.train))
    with output_folder(folder) as scratch:
        files = []
        expected, packs = Counter[bytes](), 0
        rows = _rows(parts, sequence_length, expected)
        for number, chunk in enumerate(_chunks(rows)):
            files.append(f"{name.replace('/', '-')}-{number:05d}.idx.parquet")
            packs += len(chunk)
            columns = zip(zip(*chunk, strict=True), SCHEMA, strict=True)
            table = pa.table([pa.array(values, field.type) for values, field in columns], SCHEMA)
            pq.write_table(table, scratch / files[-1], row_group_size=ROW_GROUP_PACKS, compression="zstd")
        supervised = _read_back([scratch / file for file in files], expected)
        lengths = np.concatenate([part.lengths for part in parts])
        longer = int((lengths > sequence_length).sum())
        done = Packed(name, len(lengths), packs, int(lengths.sum(dtype=np.int64)), supervised, longer, tuple(files))
        statement = {
            "format": "packed-parquet",
            "build": manifest.build,
            "sequence_length": sequence_length,
            "eod_id": manifest.tokenizer.eod_id,
            "vocab_size": manifest.tokenizer.vocab_size,
            **{key: value for key, value in vars(done).items() if key != "files"},
            "files": files,
        }
        (scratch / STATEMENT).write_text(json.dumps(statement, indent=1, sort_keys=True) + "\n")
    return done


Row = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8]]
"""One pack: ids, starts, loss mask."""


def _rows(parts: Sequence[MaskedDocuments], sequence_length: int, written: Counter[bytes]) -> Iterator[Row]:
    """The packs of all conversations; `written` counts the digest of each conversation."""
    lengths = np.concatenate([part.lengths for part in parts])
    fits = np.flatnonzero(lengths <= sequence_length)
    pack = pack_documents(lengths[fits], sequence_length, seed=0)
    bounds = pack.window_starts.tolist()
    groups = [fits[pack.documents[first:last]] for first, last in pairwise(bounds)]
    groups += [np.array([document]) for document in np.flatnonzero(lengths > sequence_length)]
    locate = _locator(parts)
    for group in groups:
        found = [locate(document) for document in group.tolist()]
        starts = np.cumsum([0, *(len(ids) for ids, _ in found)])[:-1].astype(np.int32)
        for ids, mask in found:
            written[_digest(ids, mask)] += 1
        yield np.concatenate([ids for ids, _ in found]), starts, np.concatenate([mask for _, mask in found])


def _locator(parts: Sequence[MaskedDocuments]) -> Any:  # noqa: ANN401  a function
    """A function that gives ids and shifted mask of a document, by its number over all parts."""
    firsts = np.cumsum([0, *(len(part.lengths) for part in parts)])
    ends = [np.cumsum(part.lengths, dtype=np.int64) for part in parts]

    def locate(document: int) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        number = int(np.searchsorted(firsts, document, side="right")) - 1
        within = document - int(firsts[number])
        end, length = int(ends[number][within]), int(parts[number].lengths[within])
        mask = np.zeros(length, np.int8)
        mask[:-1] = parts[number].mask[end - length + 1 : end]
        return np.asarray(parts[number].ids[end - length : end], np.int32), mask

    return locate


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == FILE_PACKS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _digest(ids: NDArray[Any], mask: NDArray[Any]) -> bytes:
    return xxhash.xxh3_128_digest(ids.astype(np.int32).tobytes() + mask.astype(np.int8).tobytes())


def _read_back(paths: Sequence[Path], expected: Counter[bytes]) -> int:
    """Check that the files hold exactly the expected conversations; return the tokens with weight in the loss."""
    found, supervised = Counter[bytes](), 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROW_GROUP_PACKS):
                for row in batch.to_pylist():
                    ids, mask = np.array(row["input_ids"], np.int32), np.array(row["loss_mask"], np.int8)
                    supervised += int(mask.sum(dtype=np.int64))
                    bounds = [*row["seq_start_id"], len(ids)]
                    found.update(_digest(ids[a:b], mask[a:b]) for a, b in pairwise(bounds))
    if found != expected:
        raise DamagedFileError(str(paths[0].parent), "conversations", "do not read back as they were written")
    return supervised
