"""Signatures of shards: a stage of its own, keyed by a shard's documents and the shape of the signatures.

It reads the texts that `read` wrote. With 24 bands of 8 rows it writes 672 bytes per document: 16 bits per minimum and
12 bytes per band. The bands of a shard are sorted, so a range of band hashes is one slice of every shard's file. A
different threshold, scope or priority, or a new dump beside old ones, does not hash old texts again. Of conversations
that are compared by their prompts, signatures are made of the turns of the prompt without its system turn: a long one
that many prompts share would make them all similar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Attempt, Store
from mixproof.ledger.store.batch import open_batch
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.read.batches import share_shards, text_bytes_of
from mixproof.pipeline.read.shard_output import SYSTEM_HASH
from mixproof.pipeline.read.shards import DOCUMENTS, PROMPT_TEXTS, Shard
from mixproof.pipeline.read.texts import iter_texts
from mixproof.pipeline.words.ngrams import Ragged
from mixproof.pipeline.words.words import LONG_BYTES, word_blocks, word_hashes_of_utf8

from .minhash import Sketch, band_hashes, grams, minima, minima_of_blocks, short_signatures

STAGE = "minhash"
VERSION = 3
PROMPTS_VERSION = 1
"""Of the signatures of prompts; raised when the same prompts get others."""
SIGNATURES = "signatures.npy"
"""Lower halves of the minima, uint16 [documents, minima], in the order of `documents.parquet`."""
BANDS = "bands.npy"
"""Band hashes, uint64, sorted; documents without words have none."""
BAND_ROWS = "band_rows.npy"
"""The row of each band hash, uint32; ascending where hashes are equal."""
PART_BITS = 4
"""Bands are first split by this many upper bits of their hash, then sorted part by part, which bounds the memory."""


def signature_key(shard: Shard, sketch: Sketch, *, of_prompts: bool = False) -> str:
    """Return the key of a shard's signatures; those of prompts depend on more than the rendered documents."""
    config = {"ngram": sketch.ngram, "bands": sketch.bands, "rows": sketch.rows}
    if of_prompts:
        return stage_key(STAGE, VERSION, {**config, "prompts": PROMPTS_VERSION}, [shard.folder])
    return stage_key(STAGE, VERSION, config, [shard.documents_sha256])


def sign(
    shards: Sequence[Shard], sketch: Sketch, store: Store, cluster: Cluster, by_prompt: Sequence[bool] = ()
) -> list[str]:
    """Make the signatures that are missing; returns the folder of every shard's signatures, in order.

    Args:
        shards: the shards.
        sketch: the shape of signatures.
        store: where outputs go.
        cluster: runs the tasks.
        by_prompt: whether the documents of each shard are conversations that are compared by their prompts.
    """
    of_prompts = by_prompt or [False] * len(shards)
    keys = [signature_key(shard, sketch, of_prompts=prompts) for shard, prompts in zip(shards, of_prompts, strict=True)]
    prompt_keys = {key for key, prompts in zip(keys, of_prompts, strict=True) if prompts}

    def calls(missing: Mapping[str, Shard]) -> list[tuple[object, ...]]:
        batches = share_shards(missing, cluster)
        return [
            (store, sketch, prompt_keys & {key for key, _ in batch}, [(key, shard.folder) for key, shard in batch])
            for batch in batches
        ]

    work = dict(zip(keys, shards, strict=True))
    made = run_missing(store, STAGE, work, calls, sign_shards, cluster, "minhash", call_bytes=text_bytes_of(work))
    return [made[key].folder for key in keys]


def sign_shards(store: Store, sketch: Sketch, prompt_keys: Set[str], shards: Sequence[tuple[str, str]]) -> None:
    """Write the signatures and sorted bands of shards, given as (key, folder); `prompt_keys` are those of prompts."""
    with open_batch(store, STAGE, [key for key, _ in shards], packs=True) as batch:
        for key, folder in shards:
            with batch.attempt(STAGE, key) as attempt:
                _write(attempt, store, folder, sketch, of_prompts=key in prompt_keys)
                attempt.commit()


def _write(attempt: Attempt, store: Store, folder: str, sketch: Sketch, *, of_prompts: bool) -> None:
    with pq.ParquetFile(store.path(f"{folder}/{DOCUMENTS}")) as file:
        documents = file.metadata.num_rows
    bands = np.empty((documents, sketch.bands), dtype=np.uint64)
    has_words = np.zeros(documents, dtype=np.bool_)
    salts = _salts(store, folder) if of_prompts else np.zeros(documents, dtype=np.uint64)
    first = 0
    with _array_file(attempt, SIGNATURES, np.dtype(np.uint16), (documents, sketch.minima)) as signatures:
        for data, bounds in iter_texts(store, folder, PROMPT_TEXTS if of_prompts else DOCUMENTS):
            last = first + len(bounds) - 1
            found, counts = _minima(data, bounds, salts[first:last], sketch)
            signatures.write(short_signatures(found).tobytes())
            has_words[first:last] = counts > 0
            bands[first:last] = band_hashes(found, sketch)
            first = last
    rows = np.flatnonzero(has_words).astype(np.uint32)
    _write_sorted(attempt, bands if has_words.all() else bands[has_words], rows)


def _salts(store: Store, folder: str) -> NDArray[np.uint64]:
    """What is mixed into the words of each prompt, uint64 [documents]: the hash of its system turn.

    So prompts with different system turns share no n-gram, and prompts share none with plain documents.
    """
    column = read_whole(store.path(f"{folder}/{PROMPT_TEXTS}"), [SYSTEM_HASH])[SYSTEM_HASH]
    return np.frombuffer(b"".join(column.to_pylist()), dtype="<u8")


def _minima(
    data: bytes, bounds: NDArray[np.int64], salts: NDArray[np.uint64], sketch: Sketch
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The minima of each text of a batch, uint32 [minima, texts], and its number of words, int64 [texts]."""
    if len(bounds) == 2 and len(data) > LONG_BYTES:
        found, words = minima_of_blocks((block ^ salts[0] for block in word_blocks(data)), sketch)
        return found, np.array([words])
    hashes = word_hashes_of_utf8(data, bounds)
    if salts.any():
        hashes = Ragged(hashes.values ^ np.repeat(salts, hashes.lengths), hashes.offsets)
    return minima(grams(hashes, sketch.ngram), sketch.minima), hashes.lengths


def _write_sorted(attempt: Attempt, bands: NDArray[np.uint64], rows: NDArray[np.uint32]) -> None:
    """Write band hashes and their rows, sorted by hash; `bands`: uint64 [rows, bands]."""
    hashes = bands.reshape(-1)
    part_of = (hashes >> np.uint64(64 - PART_BITS)).astype(np.uint8)
    shape = (len(hashes),)
    with (
        _array_file(attempt, BANDS, np.dtype(np.uint64), shape) as sorted_hashes,
        _array_file(attempt, BAND_ROWS, np.dtype(np.uint32), shape) as sorted_rows,
    ):
        for part in range(1 << PART_BITS):
            members = np.flatnonzero(part_of == part)
            members = members[np.argsort(hashes[members], kind="stable")]
            sorted_hashes.write(hashes[members].tobytes())
            sorted_rows.write(rows[members // bands.shape[1]].tobytes())


@contextmanager
def _array_file(attempt: Attempt, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """Open a `.npy` file with its header written; the caller writes the rows."""
    with attempt.path(name).open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield file
