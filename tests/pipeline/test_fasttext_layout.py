"""Hostile fastText models: on sizes that lie fastText itself crashes, takes all memory, or reads for hours."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.classifiers.fasttext_file import load_fasttext, predict, sha256_of_model
from mixproof.pipeline.fasttext_layout import check_layout

SETTINGS = [1, 5, 1, 1, 5, 1, 3, 3, 0, 0, 0, 100]
"""dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate."""
SIZES = [4, 2, 2, 7, -1]
"""Entries, words, labels, tokens; buckets that stay, -1 for all."""


def matrix(rows: int, columns: int, values: int = 2) -> bytes:
    return b"\0" + struct.pack("<2q", rows, columns) + struct.pack(f"<{values}f", *range(1, values + 1))


def model(
    *,
    settings: dict[int, int] | None = None,
    sizes: dict[int, int] | None = None,
    kinds: bytes = b"\0\0\1\1",
    matrices: bytes = matrix(2, 1) * 2,
) -> bytes:
    numbers, stated = (
        [{**dict(enumerate(a)), **(b or {})}[i] for i in range(len(a))]
        for a, b in ((SETTINGS, settings), (SIZES, sizes))
    )
    entries = [(b"x", 3), (b"y", 2), (b"__label__a", 1), (b"__label__b", 1)]
    listed = b"".join(
        name + b"\0" + struct.pack("<qb", n, kind) for (name, n), kind in zip(entries, kinds, strict=True)
    )
    return struct.pack("<2i12id", 793712314, 12, *numbers, 1e-4) + struct.pack("<3i2q", *stated) + listed + matrices


def test_a_model_is_loaded_and_one_of_wrong_sizes_is_refused_before_fasttext_reads_it(tmp_path: Path) -> None:
    path = str(tmp_path / "model.bin")
    Path(path).write_bytes(model())
    assert sum(predict(load_fasttext(path, sha256_of_model(path), "a"), "x y", -1).values()) == pytest.approx(
        1, abs=1e-3
    )
    Path(path).write_bytes(model(sizes={1: 2**31 - 1}))  # a segmentation fault
    with pytest.raises(RequestError, match=r"model\.bin: not a fastText model: 4 entries for 2147483647 words"):
        load_fasttext(path, sha256_of_model(path), "a")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (model(settings={0: -5}), "settings that no model has"),
        (model(settings={10: 3}), "n-grams without buckets"),  # a division by zero
        (model(settings={7: 2}), "not a supervised one"),
        (model(sizes={0: 2**31 - 1, 1: 2**31 - 3}), r"2147483647 entries in \d+ bytes"),  # reads without end
        (model(sizes={4: 2**60}), "of 0 buckets stay"),
        (model(kinds=b"\1\0\1\0"), "mixed"),
        (model(matrices=matrix(2, 1) + matrix(1, 1, 1)), "1 x 1 instead of 2 x 1"),  # reads behind the matrix
        (model(matrices=matrix(2, 2**33) * 2), "2 x 8589934592 instead of 2 x 1"),
        (model(matrices=b"\1" + bytes(60)), "0 x 0 instead of 2 x 1"),
        (model()[:-3], "are not in the file"),
        (model()[:60], "ends too early"),
        (model() + b"x", "1 bytes follow"),
        (model()[:92] + b"x" * 500, "a name without an end"),
    ],
)
def test_sizes_that_do_not_fit_are_found(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        check_layout(str(tmp_path / "model.bin"))
