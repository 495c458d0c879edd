"""Whether the texts and fields that a source names are in the first records of its files, known before any work.

Of every file the first records are read, of many files a sample that is spread evenly over them. A file is unusable
if none of its first records has a text. Some files may be: the source is refused when they hold a larger share of
the bytes than `on_bad_record.reject`, because reading would fail for the same reason, only later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.key_positions import dotted
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.readers.arrow import read_arrow
from mixproof.pipeline.readers.code import MAX_FILE_BYTES
from mixproof.pipeline.readers.parquet import check_parquet

from .files import InputFile
from .first_conversations import check_conversations, ignored_reasoning
from .first_rows import Row, first_rows, not_objects, spread
from .formats import TREES
from .named_fields import check_fields, named_fields, shown_fields, type_of

LIKELY_TEXT_CHARS = 30
"""A shorter value is probably an id or a label, so it is not suggested as text."""
TAG = re.compile(r"<[A-Za-z!/]")
"""Begins a tag, a comment or a document type."""
WITH_FIELDS = frozenset({"jsonl", "parquet", "arrow"})


def check_first_records(spec: Spec, files: Mapping[str, Sequence[InputFile]]) -> list[str]:
    """Read the first records of the local files of every source, and refuse sources that cannot be read as declared.

    Args:
        spec: as written, with split sources whole.
        files: by source.

    Returns:
        Warnings.

    Raises:
        RequestError: when the texts, the conversations, or a field that the source names, are not in its records.
        DamagedFileError: when a file is not in its format.
    """
    warnings: list[str] = []
    for name, inputs in files.items():
        source = spec.sources[name]
        _check_sizes(inputs, spec.where("sources", name))
        chosen = [file for file in spread(inputs) if file.format in WITH_FIELDS]
        for file in chosen:
            try:
                _check_columns(source, file)
            except RequestError as error:
                raise RequestError(f"{spec.where('sources', name)}: {error}") from error
        rows = {file: first_rows(file, spec.limits) for file in chosen}
        rows = {file: first for file, first in rows.items() if first}
        if source.extractor is not None:
            _check_markup(spec, name, rows)
        if source.kind is not None:
            check_conversations(spec, name, rows)
            warnings += ignored_reasoning(spec, name, rows)
        else:
            _check_texts(spec, name, {file: first for file, first in rows.items() if file.format == "jsonl"})
        check_fields(spec, name, rows)
    return warnings


def _check_sizes(inputs: Sequence[InputFile], where: str) -> None:
    """Refuse a source whose files are all one document each, and all too long for one."""
    if all(file.format in TREES and file.compression is None and file.bytes > MAX_FILE_BYTES for file in inputs):
        raise RequestError(
            f"{where}: {inputs[0].url}: {inputs[0].format} files are one document each, of at most "
            f"{MAX_FILE_BYTES // 10**6} MB; write it as JSON lines, with a document in each line"
        )


def check_texts_of(source: Source, files: Sequence[InputFile], spec: Spec) -> None:
    """Refuse text files outside the spec's sources, such as examples, if their first records have no texts.

    Raises:
        RequestError: naming the file and the field.
        DamagedFileError: when a file is not in its format.
    """
    chosen = [file for file in spread(files) if file.format in WITH_FIELDS]
    for file in chosen:
        _check_columns(source, file)
    rows = {file: first for file in chosen if file.format == "jsonl" and (first := first_rows(file, spec.limits))}
    problem = _problem_of_texts(source, rows, spec)
    if problem:
        raise RequestError(problem)


def _check_columns(source: Source, file: InputFile) -> None:
    text = source.text if source.kind is None else None
    if file.format == "parquet":
        check_parquet(
            file.url,
            text=text,
            id_=source.id,
            fields={dotted(key): field for key, field in named_fields(source).items()},
        )
    elif file.format == "arrow":
        next(read_arrow(file.url, text=text, id_=source.id, with_fields=False), None)


def _check_markup(spec: Spec, name: str, rows: Mapping[InputFile, Sequence[Row]]) -> None:
    field = spec.sources[name].text
    texts = [
        row[field] for first in rows.values() for row in first if _has_text(row, field) and not isinstance(row, bytes)
    ]
    if texts and not any(TAG.search(text) for text in texts):
        raise RequestError(
            f"{spec.where('sources', name, 'extractor')}: the texts have no HTML to extract from: none of the first "
            f"{len(texts)} has a tag; remove `extractor`, or set `text` to the field with the HTML"
        )


def _check_texts(spec: Spec, name: str, rows: Mapping[InputFile, Sequence[Row]]) -> None:
    problem = _problem_of_texts(spec.sources[name], rows, spec)
    if problem:
        raise RequestError(f"{spec.where('sources', name)}: {problem}")


def _problem_of_texts(source: Source, rows: Mapping[InputFile, Sequence[Row]], spec: Spec) -> str:
    """Why too much of some files has no texts; empty if they are usable."""
    unusable = {file: first for file, first in rows.items() if not any(_has_text(row, source.text) for row in first)}
    seen, lost = sum(file.bytes for file in rows), sum(file.bytes for file in unusable)
    if lost <= spec.on_bad_record.reject * seen:
        return ""
    file, first = next(iter(unusable.items()))
    others = f"; so it is in {len(unusable)} of the {len(rows)} files looked at" if len(rows) > 1 else ""
    return f"{file.url}: {_text_problem(first, source.text)}{others}"


def _has_text(row: Row, text: str) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get(text), str)


def _text_problem(rows: Sequence[Row], text: str) -> str:
    """Why none of the first records of a file gives a text, and what to do."""
    row = next((row for row in rows if isinstance(row, Mapping)), rows[0])
    if isinstance(row, bytes):
        return not_objects(row)
    if text in row:
        return f"the field {text!r} holds {type_of(row[text])}, not text; set `text` to the field with the text"
    return f"its records have no field {text!r}; they have {shown_fields(row)}.{_suggestion(row)}"


def _suggestion(record: Mapping[str, Any]) -> str:
    """Name the field with the longest text."""
    texts = {key: len(value) for key, value in record.items() if isinstance(value, str)}
    longest = max(texts, key=texts.__getitem__, default=None)
    if longest is None or texts[longest] < LIKELY_TEXT_CHARS:
        return " `text` must name a field of the record itself that holds text"
    return f" Set `text: {longest}` if that is the text"
