"""Evaluation files that training documents must not overlap with: JSON Lines, Parquet, or one JSON list of objects.

An item is a record, and `evaluation_forms.py` says which of its fields hold texts to protect. A record without such a
text, or one that cannot be parsed, is an error: an evaluation that is protected only in part is worse than none. What
was read of each file, and which fields were not, is summed up for the build's report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import InputFile, find_others
from mixproof.pipeline.readers.jsonl import BOM, split_lines
from mixproof.pipeline.readers.raw import local_copy, plain_blocks, unpacked_blocks
from mixproof.pipeline.readers.remote import is_remote
from mixproof.pipeline.readers.unchanged import hash_file

from .evaluation_forms import FieldRule, protected_texts, unread_fields

SHOWN_FIELDS = 20
CHECKED_BYTES = 10_000_000
"""Size up to which an evaluation file is read before any work."""
WAY_OUT = "declare the fields that hold its texts: `against: [{files: ..., fields: [...]}]`"


@dataclass(frozen=True)
class EvaluationFile:
    """One evaluation file, identified by its content."""

    file: InputFile
    sha256: str
    rule: FieldRule = field(default_factory=FieldRule)

    @property
    def identity(self) -> str:
        """What the manifest states of the file: its SHA-256, and declared fields or omitted passages."""
        if self.rule.fields is not None:
            return f"{self.sha256} fields: {', '.join(self.rule.fields)}"
        return self.sha256 if self.rule.passages else f"{self.sha256} passages: false"


@dataclass(frozen=True)
class EvaluationText:
    """A text to protect."""

    record: int
    """Index of its record in the file, from 0, blank lines counted."""
    field: str
    text: str


@dataclass
class EvaluationSummary:
    """What was read of an evaluation file."""

    file: str
    records: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    """Number of protected texts, by field."""
    not_read: list[str] = field(default_factory=list)
    """Fields that are in the file and not protected, sorted."""

    def plain(self) -> dict[str, object]:
        """Return the summary as plain JSON."""
        return {
            "file": self.file,
            "records": self.records,
            "texts": dict(sorted(self.texts.items())),
            "not_read": self.not_read,
        }


def find_evaluation_files(spec: Spec, base: Path) -> tuple[EvaluationFile, ...]:
    """Find and hash the files of `decontaminate.against`, sorted by name; relative paths start at `base`.

    Raises:
        RequestError: when a pattern matches nothing, a file's name does not tell its format, or a file is listed twice
            with different fields.
    """
    if spec.decontaminate is False:
        return ()
    where = spec.where("decontaminate", "against")
    found: dict[str, EvaluationFile] = {}
    for entry in spec.decontaminate.against:
        rule = FieldRule(entry.fields, entry.passages)
        for file in find_others(entry.files, base, where=where):
            if file.url in found:
                if found[file.url].rule != rule:
                    raise RequestError(f"{where}: {file.url} is listed twice with different fields; list it once")
                continue
            found[file.url] = EvaluationFile(file, hash_file(file.url)[1], rule)
    return tuple(sorted(found.values(), key=lambda each: (each.file.name, each.sha256)))


def check_evaluation_files(spec: Spec, base: Path) -> None:
    """Read the small local evaluation files of a spec once, before any work; larger ones are read when needed.

    Raises:
        RequestError: as in `find_evaluation_files` and `read_evaluation_file`.
        DamagedFileError: when a file cannot be read to its end.
    """
    ngram = Decontaminate().ngram if spec.decontaminate is False else spec.decontaminate.ngram
    for file in find_evaluation_files(spec, base):
        if file.file.bytes <= CHECKED_BYTES and not is_remote(file.file.url):
            read_evaluation_file(file, ngram)


def read_evaluation_file(file: EvaluationFile, ngram: int) -> tuple[list[EvaluationText], EvaluationSummary]:
    """Read the texts to protect, record by record, and sum up what was read.

    Args:
        file: the file.
        ngram: number of words from which answers are protected.

    Raises:
        RequestError: when a record is not an object or has no text to protect; names file, record and its fields.
        DamagedFileError: when the file cannot be read to its end.
    """
    texts: list[EvaluationText] = []
    summary = EvaluationSummary(file.file.name)
    names: set[str] = set()
    is_parquet = file.file.format == "parquet"
    for number, record in _parquet_records(file, names) if is_parquet else _json_records(file.file):
        found = protected_texts(record, file.rule, ngram)
        if not found:
            raise _no_text(file, f"{_location(file.file, number)} has no text to protect", record)
        texts += [EvaluationText(number, each.field, each.text) for each in found]
        summary.records += 1
        summary.texts.update(each.field for each in found)
        names.update(record)
    summary.not_read = unread_fields(names, file.rule)
    unused = [name for name in file.rule.fields or () if name not in summary.texts]
    if unused and summary.records:
        problem = f"{file.file.url} has no text in the declared field{'s' * (len(unused) > 1)} {', '.join(unused)}"
        raise _no_text(file, problem, dict.fromkeys(names))
    return texts, summary


def _no_text(file: EvaluationFile, problem: str, record: dict[str, Any]) -> RequestError:
    names = sorted(record)
    shown = ", ".join(names[:SHOWN_FIELDS]) + (", ..." if len(names) > SHOWN_FIELDS else "")
    looked_for = "a question or a passage" if file.rule.passages else "a question (passages: false)"
    if file.rule.fields is not None:
        looked_for = f"the declared fields {', '.join(file.rule.fields)}"
    way_out = WAY_OUT if file.rule.fields is None else "correct the fields"
    return RequestError(
        f"{file.file.source}: {problem}: mixproof looks for {looked_for}; the fields are {shown or 'none'}; {way_out}"
    )


def _json_records(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    with local_copy(file.url) as path, path.open("rb") as opened:
        blocks = unpacked_blocks(opened, file.compression, file.url) if file.compression else plain_blocks(opened)
        is_list, blocks = _begins_a_list(blocks)
        if is_list:
            yield from _items(file, b"".join(blocks))
            return
        for number, (line, _) in enumerate(split_lines(blocks)):
            if line is None:
                raise RequestError(f"{file.source}: {_location(file, number)} is too long")
            line = line.removeprefix(BOM) if number == 0 else line
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise RequestError(f"{file.source}: {_location(file, number)} is not valid JSON: {error}") from None
            if not isinstance(record, dict):
                kind = type(record).__name__
                raise RequestError(f"{file.source}: {_location(file, number)} is of type {kind}, not an object")
            yield number, record


def _begins_a_list(blocks: Iterable[bytes]) -> tuple[bool, Iterator[bytes]]:
    """Tell whether the first character after white space opens a list; also return all blocks, including those read."""
    following = iter(blocks)
    seen = []
    for block in following:
        seen.append(block)
        begin = b"".join(seen).removeprefix(BOM).lstrip()
        if begin:
            return begin.startswith(b"["), chain(seen, following)
    return False, iter(seen)


def _items(file: InputFile, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        items = orjson.loads(data.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{file.source}: {file.url} starts like a JSON list but is not valid: {error}") from None
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            kind = type(item).__name__
            raise RequestError(f"{file.source}: {file.url}, item {number + 1}, is of type {kind}, not an object")
        yield number, item


def _parquet_records(file: EvaluationFile, names: set[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the records with the columns that may hold texts; adds the names of all columns to `names`."""
    url = file.file.url
    with local_copy(url) as path:
        try:
            with pq.ParquetFile(path) as opened:
                names.update(opened.schema_arrow.names)
                columns = [name for name in opened.schema_arrow.names if file.rule.reads(name)]
                if not columns:
                    raise _no_text(file, f"{url} has no column with texts to protect", dict.fromkeys(names))
                number = 0
                for batch in opened.iter_batches(1024, columns=columns):
                    for record in batch.to_pylist():
                        yield number, record
                        number += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DamagedFileError(url, "Parquet", str(error).partition("\n")[0]) from error


def _location(file: InputFile, number: int) -> str:
    return f"{file.url}, {'record' if file.format == 'parquet' else 'line'} {number + (file.format != 'parquet')},"
