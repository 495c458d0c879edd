"""Check the layout of a fastText model before fastText loads it.

fastText believes what a file says: sizes that are wrong make it take all memory, read for hours, or read and write
outside its arrays. Here every size is checked against the others and against the file's length. The format is that of
fastText 0.9.2 (`FastText::loadModel` and what it calls): settings, dictionary, input matrix, output matrix.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

HEAD = struct.Struct("<2i12id")
DICTIONARY = struct.Struct("<3i2q")
ENTRY = struct.Struct("<qb")
SUPERVISED = 3
LOSSES = (HIERARCHICAL, _NEGATIVE, _SOFTMAX, _ONE_VS_ALL) = (1, 2, 3, 4)
VERSIONS = (WITHOUT_CHARACTERS, _NEW) = (11, 12)
"""Supervised models of the former have no n-grams of characters, whatever the settings say."""
MOST_COUNT = 10**15
"""fastText's own bound of counts, where it makes a tree of labels."""
_WORD, _LABEL = 0, 1


@dataclass
class _File:
    data: mmap.mmap
    at: int = 0

    def take(self, form: struct.Struct | str) -> tuple[int, ...]:
        form = struct.Struct(form) if isinstance(form, str) else form
        values: tuple[int, ...] = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values

    def skip(self, size: int) -> None:
        _require(0 <= size <= len(self.data) - self.at, f"{size} bytes at byte {self.at} are not in the file")
        self.at += size


def check_layout(path: str) -> None:
    """Check that sizes fit each other and the file.

    Raises:
        ValueError: saying what does not fit.
    """
    with Path(path).open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        file = _File(data)
        try:
            _check(file)
        except struct.error:
            raise ValueError("the file ends too early") from None
        _require(file.at == len(data), f"{len(data) - file.at} bytes follow the model")


def _check(file: _File) -> None:
    _, version, dim, _, _, _, _, ngrams, loss, model, bucket, minn, maxn, *_ = file.take(HEAD)
    _require(version in VERSIONS, f"version {version} of the format")
    _require(model == SUPERVISED, "the model is not a supervised one, so it has no labels")
    _require(loss in LOSSES and dim > 0 and bucket >= 0 and minn >= 0 and maxn >= 0, "settings that no model has")
    has_characters = maxn > 0 and version != WITHOUT_CHARACTERS
    _require(bucket > 0 or not (has_characters or ngrams > 1), "n-grams without buckets")
    size, words, labels, _, pruned = file.take(DICTIONARY)
    _require(words >= 0 and labels > 0 and size == words + labels, f"{size} entries for {words} words, {labels} labels")
    _require(size <= len(file.data), f"{size} entries in {len(file.data)} bytes")
    for entry in range(size):
        end = file.data.find(b"\0", file.at)
        _require(end >= 0, "a name without an end")
        file.at = end + 1
        count, kind = file.take(ENTRY)
        _require(kind == (_WORD if entry < words else _LABEL), "words and labels that are mixed")
        _require(0 <= count < MOST_COUNT or loss != HIERARCHICAL, f"a label that occurs {count} times")
    if pruned > 0:
        _require(pruned <= bucket, f"{pruned} of {bucket} buckets stay")
        first = file.at
        file.skip(8 * pruned)
        targets = memoryview(file.data)[first : file.at].cast("i")[1::2]
        inside = all(0 <= target < pruned for target in targets)
        targets.release()
        _require(inside, "buckets that do not exist")
    _check_matrices(file, dim, words + (bucket if pruned < 0 else pruned), labels)


def _check_matrices(file: _File, dim: int, rows: int, labels: int) -> None:
    (is_quantized,) = file.take("<b")
    _check_matrix(file, rows, dim, is_quantized=bool(is_quantized))
    (is_output_quantized,) = file.take("<b")
    _check_matrix(file, labels, dim, is_quantized=bool(is_quantized and is_output_quantized))


def _check_matrix(file: _File, rows: int, columns: int, *, is_quantized: bool) -> None:
    has_norms = file.take("<b")[0] if is_quantized else 0
    stated = file.take("<2q")
    _require(stated == (rows, columns), f"a matrix of {stated[0]} x {stated[1]} instead of {rows} x {columns}")
    if not is_quantized:
        file.skip(4 * rows * columns)
        return
    (codes,) = file.take("<i")
    file.skip(codes)
    parts = _check_quantizer(file, columns)
    _require(codes == rows * parts, f"{codes} codes for {rows} rows of {parts}")
    if has_norms:
        file.skip(rows)
        _check_quantizer(file, 1)


def _check_quantizer(file: _File, columns: int) -> int:
    """Check a product quantizer, and return into how many parts it divides a row."""
    dim, parts, width, last = file.take("<4i")
    fits = dim == columns and parts > 0 and 0 < last <= width and (parts - 1) * width + last == dim
    _require(fits, f"a quantizer of {parts} parts of {width} for {columns} columns")
    file.skip(4 * 256 * dim)
    return parts


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
