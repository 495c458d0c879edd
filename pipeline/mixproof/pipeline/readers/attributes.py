"""Dolma's attributes: files beside the documents whose lines hold what taggers found in each document, joined by id.

A line is `{"id": ..., "attributes": {name: [[start, end, score], ...]}}` (Soldaini et al. 2024, arXiv 2402.00159; the
format is docs/data-format.md of github.com/allenai/dolma). A file of attributes has the name of its file of documents
and its records in the same order. A record that is rejected may be missing from it; every other record must be there,
and nothing else, so a file of another version of the corpus is an error and never a silent mismatch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from mixproof.ledger.errors import DamagedFileError
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.record import Raw, Records, id_of

from .jsonl import lines_of

ATTRIBUTES = "attributes"
"""The field of a record that holds its attributes, by name."""


class AttributesFile(NamedTuple):
    """One file of attributes."""

    url: str
    compression: str | None
    bytes: int


def with_attributes(items: Records, files: Sequence[AttributesFile], limits: Limits) -> Records:
    """Yield the records with the attributes of all files in the field `attributes`.

    Args:
        items: the records of a whole file of documents.
        files: of attributes, one a tagger.
        limits: on lines and expansion.

    Raises:
        DamagedFileError: naming the file and line, when a file lacks a record, has another one, or two files give the
            same attribute.
    """
    readers = [_Reader(file, limits) for file in files]
    for item in items:
        if isinstance(item, Raw):
            found: dict[str, Any] = {}
            for reader in readers:
                for name, spans in reader.attributes_of(item.id).items():
                    if name in found:
                        raise reader.damaged(f"attribute {name!r} is in another file of attributes, too")
                    found[name] = spans
            fields = item.fields or {}
            item.fields = {**fields, ATTRIBUTES: {**(fields.get(ATTRIBUTES) or {}), **found}}
        else:
            for reader in readers:
                reader.may_skip += 1
        yield item
    for reader in readers:
        reader.finish()


class _Reader:
    """The lines of one file of attributes, in step with the documents."""

    def __init__(self, file: AttributesFile, limits: Limits) -> None:
        self._file, self._line = file, 0
        self._lines: Iterator[bytes | None] = lines_of(file.url, file.compression, 0, file.bytes, limits)
        self.may_skip = 0
        """Rejected documents since the last match, each of which may or may not have a line here."""

    def attributes_of(self, document: str | None) -> dict[str, Any]:
        """Return the attributes of the next document, whose id is `document`."""
        if document is None:
            raise self.damaged("its file of documents has a record without an id, by which attributes are joined")
        while True:
            line = next(self._lines, None)
            if line is None:
                raise self.damaged(f"no attributes of document {document!r}; run the tagger on these documents again")
            self._line += 1
            name, attributes = self._parse(line)
            if name == document:
                self.may_skip = 0
                return attributes
            if not self.may_skip:
                raise self.damaged(
                    f"attributes of document {name!r}, but the file of documents has {document!r} there; run the "
                    "tagger on these documents again"
                )
            self.may_skip -= 1

    def finish(self) -> None:
        """Check that no line is left but those of rejected documents."""
        for line in self._lines:
            self._line += 1
            if not self.may_skip:
                name = "a line that is too long" if line is None else repr(self._parse(line)[0])
                raise self.damaged(f"attributes of {name}, which is not in the file of documents")
            self.may_skip -= 1

    def damaged(self, problem: str) -> DamagedFileError:
        """Return the error about the current line."""
        return DamagedFileError(self._file.url, f"line {self._line}", problem)

    def _parse(self, line: bytes) -> tuple[str | None, dict[str, Any]]:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise self.damaged(f"not JSON: {error}") from None
        attributes = record.get(ATTRIBUTES) if isinstance(record, dict) else None
        if not isinstance(attributes, dict):
            raise self.damaged('not of the form {"id": ..., "attributes": {...}}')
        return id_of(record.get("id")), attributes
