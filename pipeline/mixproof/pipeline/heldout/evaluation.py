"""Evaluation files that training documents must not overlap with: JSON lines, Parquet, or one JSON list of objects.

An item is a record. The strings `text` and `question` of each are texts to protect. So are `answer` and `choices` (a
string, a list of strings, or an object whose `text` is such a list) where they have at least n words: a
shorter answer, as `Paris`, says nothing without its question. Numbers there, as the place of the right
choice, are passed over. A record without any of these fields, or one that cannot be parsed, is an error:
an evaluation that is only half protected is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.read.files import InputFile, find_others
from mixproof.pipeline.readers.jsonl import BOM, split_lines
from mixproof.pipeline.readers.raw import local_copy, plain_blocks, unpacked_blocks
from mixproof.pipeline.readers.unchanged import hash_file
from mixproof.pipeline.words.words import word_hashes

ALWAYS = ("text", "question")
WHEN_LONG = ("answer", "choices")


@dataclass(frozen=True)
class EvaluationFile:
    """One evaluation file, by its content."""

    file: InputFile
    sha256: str


@dataclass(frozen=True)
class EvaluationText:
    """A text that evaluations use."""

    record: int
    """Place of its record in the file, from 0, blank lines counted."""
    field: str
    text: str


def find_evaluation_files(spec: Spec, base: Path) -> tuple[EvaluationFile, ...]:
    """Find and hash the files of `decontaminate.against`, sorted by name; relative paths start at `base`.

    Raises:
        RequestError: when a pattern matches nothing, or a file's name does not tell its format.
    """
    if spec.decontaminate is False:
        return ()
    found = []
    for file in find_others(spec.decontaminate.against, base, where=spec.where("decontaminate", "against")):
        found.append(EvaluationFile(file, hash_file(file.url)[1]))
    return tuple(found)


def read_evaluation_texts(file: InputFile, ngram: int) -> Iterator[EvaluationText]:
    """Yield the texts of an evaluation file, record by record.

    Raises:
        RequestError: when a record is no object or holds none of the fields; names file and line.
        DamagedFileError: when the file cannot be read to its end.
    """
    records = _parquet_records(file) if file.format == "parquet" else _json_records(file)
    for number, record in records:
        texts = list(_texts(number, record, ngram))
        if not texts and not any(name in record for name in WHEN_LONG):
            raise RequestError(
                f"{file.source}: {_place(file, number)} has no text in any of {', '.join(ALWAYS + WHEN_LONG)}; "
                f"it has {', '.join(sorted(record)) or 'no fields'}"
            )
        yield from texts


def _texts(number: int, record: Mapping[str, Any], ngram: int) -> Iterator[EvaluationText]:
    for field in ALWAYS:
        for text in _strings(record.get(field)):
            yield EvaluationText(number, field, text)
    for field in WHEN_LONG:
        for text in _strings(record.get(field)):
            if len(word_hashes([text]).values) >= ngram:
                yield EvaluationText(number, field, text)


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return _strings(value.get("text"))
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _json_records(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    with local_copy(file.url) as path, path.open("rb") as opened:
        blocks = unpacked_blocks(opened, file.compression, file.url) if file.compression else plain_blocks(opened)
        is_list, blocks = _begins_a_list(blocks)
        if is_list:
            yield from _items(file, b"".join(blocks))
            return
        for number, (line, _) in enumerate(split_lines(blocks)):
            if line is None:
                raise RequestError(f"{file.source}: {_place(file, number)} is too long for a record")
            line = line.removeprefix(BOM) if number == 0 else line
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise RequestError(f"{file.source}: {_place(file, number)} is not JSON: {error}") from None
            if not isinstance(record, dict):
                raise RequestError(f"{file.source}: {_place(file, number)} is {type(record).__name__}, not an object")
            yield number, record


def _begins_a_list(blocks: Iterable[bytes]) -> tuple[bool, Iterator[bytes]]:
    """Whether the first sign beyond white space opens a list; and all blocks, the first ones included."""
    rest = iter(blocks)
    seen = []
    for block in rest:
        seen.append(block)
        begin = b"".join(seen).removeprefix(BOM).lstrip()
        if begin:
            return begin.startswith(b"["), chain(seen, rest)
    return False, iter(seen)


def _items(file: InputFile, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        items = orjson.loads(data.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{file.source}: {file.url} begins as a JSON list and is none: {error}") from None
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            kind = type(item).__name__
            raise RequestError(f"{file.source}: {file.url}, item {number + 1}, is {kind}, not an object")
        yield number, item


def _parquet_records(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    with local_copy(file.url) as path:
        try:
            with pq.ParquetFile(path) as opened:
                wanted = [name for name in opened.schema_arrow.names if name in ALWAYS + WHEN_LONG]
                if not wanted:
                    raise RequestError(
                        f"{file.source}: {file.url} has none of the columns {', '.join(ALWAYS + WHEN_LONG)}; "
                        f"it has {', '.join(opened.schema_arrow.names)}"
                    )
                number = 0
                for batch in opened.iter_batches(1024, columns=wanted):
                    for record in batch.to_pylist():
                        yield number, {name: value for name, value in record.items() if value is not None}
                        number += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DamagedFileError(file.url, "Parquet", str(error).partition("\n")[0]) from error


def _place(file: InputFile, number: int) -> str:
    return f"{file.url}, {'record' if file.format == 'parquet' else 'line'} {number + (file.format != 'parquet')},"
