"""The stored index: what comes back is what was built, and its key is made of contents."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mixproof.ledger.store import Store
from mixproof.pipeline.heldout.heldout_set import TEXTS_SCHEMA, HeldoutSet, read_set, write_set
from mixproof.pipeline.heldout.overlap import build_index, find_overlaps
from mixproof.pipeline.heldout.overlap_index import INDEX, index_key, load_index, make_index, save_index

TEXTS = [" ".join(f"w{number}x{k}" for k in range(20)) for number in range(5)] + ["a b c d e f", "a", "..."]


def test_every_array_is_saved_under_its_name(tmp_path: Path) -> None:
    index = build_index(TEXTS, 13, 2)
    save_index(index, tmp_path)
    assert np.load(tmp_path / "sizes.npy").tolist() == [8, 8, 8, 8, 8, 1, 1, 0]
    assert np.array_equal(np.load(tmp_path / "words.values.npy"), index.words.values)
    names = {"keys", "lists", "offsets", "items", "bits"}
    for part in ("grams", "wholes", "heads", "anchors"):
        assert {path.name.split(".")[1] for path in tmp_path.glob(f"{part}.*.npy")} == names


@pytest.mark.parametrize("count", [0, 1])
def test_an_index_without_texts_or_with_sets_is_loaded_and_used(tmp_path: Path, count: int) -> None:
    store = Store(tmp_path)
    sets: list[HeldoutSet] = []
    if count:
        rows = [
            {"file": "f", "record": k, "id": None, "text": text, "text_xxh128": f"{k:032x}", "text_bytes": 1}
            for k, text in enumerate(TEXTS)
        ]
        path, sha256 = write_set(store, "a", pa.Table.from_pylist(rows, schema=TEXTS_SCHEMA))
        sets = [read_set(store, "a", path, sha256)]
    key = index_key(13, sets, ())
    make_index(store, key, 13, sets, ())
    assert store.receipt(INDEX, key) is not None
    index, texts = load_index(store, key)
    assert index.protected == len(texts.rows) == count * len(TEXTS)
    found = find_overlaps(index, [TEXTS[3], "z a b c d e f z"], Fraction(1, 2))
    assert {number: match.text for number, match in found.items()} == ({0: 3, 1: 5} if count else {})


def test_the_key_holds_the_length_of_a_gram_and_the_contents() -> None:
    one = HeldoutSet("a", "p", "1" * 64, 1, 1, ("0" * 32,))
    other = HeldoutSet("a", "p", "2" * 64, 1, 1, ("0" * 32,))
    assert len({index_key(13, [one], ()), index_key(12, [one], ()), index_key(13, [other], ())}) == 3
