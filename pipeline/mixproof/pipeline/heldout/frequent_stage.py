"""The pass over the training documents that finds frequent n-grams, and the index without them, as stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import make_missing, run_missing
from mixproof.pipeline.read.shards import Shard
from mixproof.pipeline.read.texts import iter_texts
from mixproof.pipeline.words.words import word_hashes_of_utf8

from .frequent import Frequencies, count_documents, no_frequencies, without_frequent
from .overlap_index import INDEX, copy_texts, load_index, save_index

COUNTS = "overlap_counts"
VERSION = 1
COUNTED = "counts.npz"
LABEL = "frequent n-grams"


@dataclass(frozen=True)
class CountTask:
    """One shard whose documents are counted."""

    shard: Shard
    keep: Bitmap | None


def index_without_frequent(
    store: Store, cluster: Cluster, index: str, tasks: Sequence[CountTask], most: int
) -> Receipt:
    """Make the index without the n-grams that occur in more than `most` documents, unless the store has it.

    The receipt's facts say how many n-grams are ignored (`ignored_ngrams`), and how many texts have no other
    (`unprotected_texts`).
    """
    keys = [
        stage_key(COUNTS, VERSION, {"index": index}, [task.shard.documents_sha256, task.keep and task.keep.sha256])
        for task in tasks
    ]  # shards of equal content share a key, and count twice
    work = dict(zip(keys, tasks, strict=True))

    def calls(missing: Mapping[str, CountTask]) -> list[tuple[object, ...]]:
        return [(store, key, index, task) for key, task in missing.items()]

    run_missing(store, COUNTS, work, calls, count_shard, cluster, LABEL)
    key = stage_key(INDEX, VERSION, {"ignore_frequent": most, "index": index}, sorted(keys))

    def make() -> Receipt:
        (receipt,) = cluster.run(make_index_without, [(store, key, index, keys, most)], label=LABEL)
        return receipt

    return make_missing(store, INDEX, key, make, cluster)


def count_shard(store: Store, key: str, index_key: str, task: CountTask) -> None:
    """Count the n-grams of the index in one shard (Ray task)."""
    index, _ = load_index(store, index_key)
    kept = read_bitmap(store, task.keep, task.shard.documents)
    found, row = no_frequencies(index), 0
    for data, bounds in iter_texts(store, task.shard.folder):
        end = row + len(bounds) - 1
        if kept[row:end].any():
            found += count_documents(index, word_hashes_of_utf8(data, bounds), kept[row:end])
        row = end
    grams, short = np.flatnonzero(found.grams), np.flatnonzero(found.texts)
    with store.attempt(COUNTS, key) as attempt:
        np.savez(
            attempt.path(COUNTED), grams=grams, counts=found.grams[grams], texts=short, text_counts=found.texts[short]
        )
        attempt.commit()


def make_index_without(store: Store, key: str, index_key: str, counted: Sequence[str], most: int) -> Receipt:
    """Write the index without frequent n-grams (Ray task)."""
    index, _ = load_index(store, index_key)
    total: Frequencies = no_frequencies(index)
    for each in counted:
        path = store.path(f"{COUNTS}/{each}/{COUNTED}")
        try:
            with np.load(path, allow_pickle=False) as part:
                np.add.at(total.grams, part["grams"], part["counts"])
                np.add.at(total.texts, part["texts"], part["text_counts"])
        except (BadZipFile, ValueError, EOFError, KeyError, IndexError) as error:
            reason = f"not the counts of n-grams ({error}); delete its folder to make it again"
            raise DamagedFileError(str(path), "whole file", reason) from error
    found = without_frequent(index, total, most)
    base = store.receipt(INDEX, index_key)
    assert base is not None, "it was loaded"
    lost = int(((found.sizes == 0) & (np.asarray(index.sizes) > 0)).sum())
    with store.attempt(INDEX, key) as attempt:
        save_index(found, attempt.path("."))
        copy_texts(store, index_key, attempt.path("."))
        facts = {"ignored_ngrams": len(found.ignored), "unprotected_texts": lost, "ignore_frequent": most}
        return attempt.commit(facts={**base.facts, **facts})
