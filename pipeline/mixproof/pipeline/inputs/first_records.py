"""Whether the fields that a source names are in the first records of its files, known before any work.

Of every file the first records are read, of many files a sample that is spread evenly over them. A file is unusable
if none of its first records has a text. Some files may be: the source is refused when they hold a larger share of
the bytes than `on_bad_record.reject`, because reading would fail for the same reason, only later.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Conversations, Limits, Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.chat.conversations import FORMS
from mixproof.pipeline.chat.messages import FaultError
from mixproof.pipeline.readers.arrow import read_arrow
from mixproof.pipeline.readers.batch_rows import DEFAULT_ID
from mixproof.pipeline.readers.jsonl import lines_of
from mixproof.pipeline.readers.parquet import check_parquet
from mixproof.pipeline.readers.remote import is_remote
from mixproof.pipeline.record import detail_of, field_of

from .files import InputFile

MOST_FILES = 200
"""Files of a source that are opened; a plain one takes about a millisecond."""
MOST_RECORDS = 20
SHOWN_FIELDS = 12
LIKELY_TEXT_CHARS = 30
"""A shorter value is no text to suggest, but an id or a label."""
Line = Mapping[str, Any] | bytes
"""A line's object, or the line where it is none."""


def check_first_records(spec: Spec, files: Mapping[str, Sequence[InputFile]]) -> None:
    """Read the first records of the local files of every source, and refuse sources that cannot be read as declared.

    Args:
        spec: as written, with split sources whole.
        files: by source.

    Raises:
        RequestError: when the texts, or a field that the source names, are not in its records.
        DamagedFileError: when a file is not in its format.
    """
    for name, inputs in files.items():
        source = spec.sources[name]
        if source.kind is not None:
            continue  # conversations have no field of text; reading names the records that it cannot use
        local = [file for file in inputs if not is_remote(file.url) and Path(file.url).is_file()]
        for file in _spread([file for file in local if file.format in ("parquet", "arrow")]):
            try:
                _check_columns(source, file)
            except RequestError as error:
                raise RequestError(f"{spec.where('sources', name)}: {error}") from error
        lines = {file: _first_lines(file, spec.limits) for file in _spread(local) if file.format == "jsonl"}
        if source.kind is None:  # the reader of conversations knows several forms of records
            _check_texts(spec, name, {file: first for file, first in lines.items() if first})
        _check_fields(spec, name, lines)


def named_fields(source: Source) -> dict[str, str]:
    """The fields that a spec says a source's records have, by key: without one, a step would drop every document."""
    named = {"split_by": source.split_column} | {
        f"steps[{index}].{step.name}.field": step.options.get("field")
        for index, step in enumerate(source.steps)
        if step.name != "datatrove"
    }
    return {key: name for key, name in named.items() if isinstance(name, str)}


def _check_columns(source: Source, file: InputFile) -> None:
    text = source.text if source.kind is None else None
    if file.format == "parquet":
        check_parquet(file.url, text=text, id_=source.id, fields=named_fields(source))
    else:
        next(read_arrow(file.url, text=text, id_=source.id, with_fields=False), None)


def _spread(files: Sequence[InputFile]) -> list[InputFile]:
    """The first, the last and evenly spaced files, at most MOST_FILES."""
    if len(files) <= MOST_FILES:
        return list(files)
    return [files[index * (len(files) - 1) // (MOST_FILES - 1)] for index in range(MOST_FILES)]


def _first_lines(file: InputFile, limits: Limits) -> list[Line]:
    return [_parsed(line) for line in itertools.islice(_lines(file, limits), MOST_RECORDS)]


def _lines(file: InputFile, limits: Limits) -> Iterator[bytes]:
    """The lines of a file that are neither blank nor too long."""
    for line in lines_of(file.url, file.compression, 0, file.bytes, limits):
        if line is not None and line.strip():
            yield line


def _parsed(line: bytes) -> Line:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:  # or what only the slow parser takes, which is as rare as a bad record
        return line
    return value if isinstance(value, dict) else line


def _check_texts(spec: Spec, name: str, lines: Mapping[InputFile, Sequence[Line]]) -> None:
    source = spec.sources[name]
    unusable = {file: first for file, first in lines.items() if not any(_is_usable(line, source) for line in first)}
    seen, lost = sum(file.bytes for file in lines), sum(file.bytes for file in unusable)
    if lost <= spec.on_bad_record.reject * seen:
        return
    file, first = next(iter(unusable.items()))
    others = f"; so it is in {len(unusable)} of the {len(lines)} files looked at" if len(lines) > 1 else ""
    raise RequestError(f"{spec.where('sources', name)}: {file.url}: {_problem(first, source)}{others}")


def _is_usable(line: Line, source: Source) -> bool:
    if not isinstance(line, Mapping):
        return False
    return isinstance(line.get(source.text), str) if source.kind is None else _fault(line, source.kind) is None


def _fault(line: Mapping[str, Any], kind: Conversations) -> str | None:
    """The reason why an object is no conversation, pair or rated answer; None if it is one."""
    try:
        FORMS[kind](line)
    except FaultError as error:
        return str(error)
    return None


def _problem(lines: Sequence[Line], source: Source) -> str:
    first = next((line for line in lines if isinstance(line, Mapping)), None)
    if source.kind is None or first is None:
        return _text_problem(lines, source.text)
    shown = ", ".join(list(first)[:SHOWN_FIELDS])
    return (
        f"its records are not usable as `format: {source.kind}`: the first has the reason {_fault(first, source.kind)} "
        f"(fields: {shown})"
    )


def _text_problem(lines: Sequence[Line], text: str) -> str:
    """Why none of the first lines of a file gives a text, and what to do."""
    line = next((line for line in lines if isinstance(line, Mapping)), lines[0])
    if isinstance(line, bytes):
        if line.lstrip().startswith(b"["):
            return "it is a JSON array; write one object on each line, for example with `jq -c '.[]'`"
        return f"it is not JSON lines; it starts with {detail_of(line)[:60]!r}. Set `format` to what it is"
    if text in line:
        return f"the field {text!r} holds {_type_of(line[text])}, not text; set `text` to the field with the text"
    return f"its records have no field {text!r}; they have {_shown(line)}.{_suggestion(line)}"


def _suggestion(record: Mapping[str, Any]) -> str:
    """Name the field with the longest text."""
    texts = {key: len(value) for key, value in record.items() if isinstance(value, str)}
    longest = max(texts, key=texts.__getitem__, default=None)
    if longest is None or texts[longest] < LIKELY_TEXT_CHARS:
        return " `text` must name a field of the record itself that holds text"
    return f" Set `text: {longest}` if that is the text"


def _check_fields(spec: Spec, name: str, lines: Mapping[InputFile, Sequence[Line]]) -> None:
    """Refuse a field that no record has: an id that the spec names, the column of a split, a step's field."""
    source = spec.sources[name]
    records = [line for first in lines.values() for line in first if isinstance(line, Mapping)]
    named = named_fields(source) | ({"id": source.id} if source.id != DEFAULT_ID else {})
    for key, field in named.items() if records else ():
        if all(field_of(record, field) is None for record in records):
            raise RequestError(
                f"{spec.where('sources', name)}.{key}: none of the first records of its files has a field {field!r}; "
                f"they have {_shown(records[0])}"
            )


def _shown(record: Mapping[str, Any]) -> str:
    fields = [f"{key} (an object)" if isinstance(value, dict) else key for key, value in record.items()]
    more = f" and {len(fields) - SHOWN_FIELDS} more" if len(fields) > SHOWN_FIELDS else ""
    return (", ".join(fields[:SHOWN_FIELDS]) or "no fields") + more


def _type_of(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
