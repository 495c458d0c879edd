"""Signatures of shards: a stage of its own, keyed by a shard's documents and the shape of the signatures.

It reads the texts that `read` wrote and writes, for `minima` of 16 bits and 12 bytes a band, 672 bytes a document with
24 x 8. The bands of a shard are sorted, so a range of band hashes is one slice of every shard's file. A new threshold
or scope, a new priority, and a new dump beside old ones, hash no old text again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.sealed import seal_receipts
from mixproof.ledger.store import Attempt, Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.read.batches import share_shards
from mixproof.pipeline.read.shards import DOCUMENTS, Shard
from mixproof.pipeline.read.texts import iter_texts
from mixproof.pipeline.words.words import word_hashes_of_utf8

from .minhash import Sketch, band_hashes, grams, minima, short_signatures

STAGE = "minhash"
VERSION = 3
SIGNATURES = "signatures.npy"
"""Lower halves of the minima, uint16 [documents, minima], in the order of `documents.parquet`."""
BANDS = "bands.npy"
"""Band hashes, uint64, sorted; bands of documents without words are left out."""
BAND_ROWS = "band_rows.npy"
"""The row of each band hash, uint32; rising where hashes are equal."""
PART_BITS = 4
"""Bands are sorted by so many upper bits of their hash first, and then part by part."""


def signature_key(shard: Shard, sketch: Sketch) -> str:
    """The key of a shard's signatures."""
    config = {"ngram": sketch.ngram, "bands": sketch.bands, "rows": sketch.rows}
    return stage_key(STAGE, VERSION, config, [shard.documents_sha256])


def sign(shards: Sequence[Shard], sketch: Sketch, store: Store, cluster: Cluster) -> list[str]:
    """Make the signatures that are missing; returns every shard's folder in the store, in order."""
    keys = [signature_key(shard, sketch) for shard in shards]
    known = find_receipts(store, STAGE, keys)
    # two shards of equal content share a key
    missing = {key: shard for key, shard in zip(keys, shards, strict=True) if key not in known}
    cluster.count(run=len(missing), reused=len(set(keys)) - len(missing))
    calls = [(str(store), sketch, [(key, shard.folder) for key, shard in batch]) for batch in share_shards(missing)]
    cluster.run(sign_shards, calls, label="minhash")
    seal_receipts(store, STAGE, [*known.beside, *missing])
    return [f"{STAGE}/{key}" for key in keys]


def sign_shards(store_url: str, sketch: Sketch, shards: Sequence[tuple[str, str]]) -> int:
    """Write the signatures and sorted bands of shards, (key, folder) each; returns how many."""
    store = Store(store_url)
    for key, folder in shards:
        with store.attempt(STAGE, key) as attempt:
            _write(attempt, store, folder, sketch)
            attempt.commit()
    return len(shards)


def _write(attempt: Attempt, store: Store, folder: str, sketch: Sketch) -> None:
    with pq.ParquetFile(store.path(f"{folder}/{DOCUMENTS}")) as file:
        documents = file.metadata.num_rows
    bands = np.empty((documents, sketch.bands), dtype=np.uint64)
    filled = np.zeros(documents, dtype=np.bool_)
    first = 0
    with _array_file(attempt, SIGNATURES, np.dtype(np.uint16), (documents, sketch.minima)) as signatures:
        for data, bounds in iter_texts(store, folder):
            words = word_hashes_of_utf8(data, bounds)
            found = minima(grams(words, sketch.ngram), sketch.minima)
            signatures.write(short_signatures(found).tobytes())
            filled[first : first + len(words)] = words.lengths > 0
            bands[first : first + len(words)] = band_hashes(found, sketch)
            first += len(words)
    _write_sorted(attempt, bands[filled] if not filled.all() else bands, np.flatnonzero(filled).astype(np.uint32))


def _write_sorted(attempt: Attempt, bands: NDArray[np.uint64], rows: NDArray[np.uint32]) -> None:
    """Write the hashes and their rows, sorted, one part of the hashes after another to bound the memory."""
    hashes = bands.reshape(-1)
    part_of = (hashes >> np.uint64(64 - PART_BITS)).astype(np.uint8)
    shape = (len(hashes),)
    with (
        _array_file(attempt, BANDS, np.dtype(np.uint64), shape) as sorted_hashes,
        _array_file(attempt, BAND_ROWS, np.dtype(np.uint32), shape) as sorted_rows,
    ):
        for part in range(1 << PART_BITS):
            inside = np.flatnonzero(part_of == part)
            inside = inside[np.argsort(hashes[inside], kind="stable")]
            sorted_hashes.write(hashes[inside].tobytes())
            sorted_rows.write(rows[inside // bands.shape[1]].tobytes())


@contextmanager
def _array_file(attempt: Attempt, name: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """A file that begins as `np.save` would begin it; the rows are the caller's to write."""
    with attempt.path(name).open("wb") as file:
        about = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)
        yield file
