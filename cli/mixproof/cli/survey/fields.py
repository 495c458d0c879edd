"""Which fields of some records hold text, ids and languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mixproof.mixtures.blocks.source import Conversations
from mixproof.pipeline.chat.conversations import FORMS
from mixproof.pipeline.chat.messages import FaultError
from mixproof.pipeline.record import field_of

from .sample import Record

TEXTS = ("text", "content", "raw_content", "body", "article", "page_content", "document", "code", "abstract", "story")
"""Names that hold text in the datasets that people publish, the most usual first."""
IDS = ("id", "_id", "doc_id", "document_id", "uuid", "url", "key", "path", "meta.id", "metadata.id")
LANGUAGES = ("lang", "language", "meta.lang", "metadata.language")
MOST = 0.9
"""Share of the records that must have a field."""
LONG_CHARS = 200
"""Mean length from which a field of another name is taken for text."""


@dataclass(frozen=True)
class Fields:
    """The fields that a source's keys name."""

    text: str
    """Empty for conversations."""
    id: str | None
    """None where no field names a record."""
    language: str | None = None
    """A field that says a record's language."""
    other_texts: tuple[str, ...] = ()
    """Fields that could be the text as well."""
    kind: Conversations | None = None
    """What the records are if they are conversations."""

    def text_of(self, record: Record) -> str | None:
        """The text of a record; of conversations, their contents."""
        if self.kind is None:
            value = record.get(self.text)
            return value if isinstance(value, str) and value else None
        try:
            exchanges = FORMS[self.kind](record).exchanges
        except FaultError:
            return None
        return "\n\n".join(message.content for each in exchanges for message in (*each.prompt, *each.answer))


def find_fields(records: Sequence[Record], text: str | None = None, id_field: str | None = None) -> Fields | None:
    """Choose the fields of some records.

    Args:
        records: a sample.
        text: the field that must be the text; None: the most likely one.
        id_field: the same for the id.

    Returns:
        None where no field holds text, or the one that must does not.
    """
    kind = None if text is not None else _kind(records)
    texts = [""] if kind is not None else _texts(records)
    if text is not None:
        texts = [text] if _share(records, text) >= MOST else []
    if not texts:
        return None
    ids = [id_field] if id_field is not None else [name for name in IDS if _names_records(records, name)]
    languages = [name for name in LANGUAGES if _share(records, name) >= MOST]
    if kind is not None:
        return Fields("", ids[0] if ids else None, kind=kind)
    others = tuple(name for name in texts[1:] if name in TEXTS or _mean_chars(records, name) >= LONG_CHARS)
    return Fields(texts[0], ids[0] if ids else None, languages[0] if languages else None, others)


def languages_of(records: Sequence[Record], field: str) -> Counter[str]:
    """How often each language is named."""
    return Counter(str(field_of(record, field)) for record in records if field_of(record, field))


def _kind(records: Sequence[Record]) -> Conversations | None:
    """What conversations the records are; the fields of a rated answer are also those of a chat."""
    kinds: tuple[Conversations, ...] = ("preferences", "ratings", "chat")
    for kind in kinds:
        fields = Fields("", None, kind=kind)
        if records and sum(fields.text_of(record) is not None for record in records) >= MOST * len(records):
            return kind
    return None


def _texts(records: Sequence[Record]) -> list[str]:
    """Fields that may hold the text, the most likely first."""
    names = dict.fromkeys(name for record in records for name in record)
    known = [name for name in TEXTS if name in names and _share(records, name) >= MOST]
    longest = sorted(
        (name for name in names if name not in TEXTS and _share(records, name) >= MOST),
        key=lambda name: -_mean_chars(records, name),
    )
    return known + [name for name in longest if _mean_chars(records, name) >= LONG_CHARS]


def _share(records: Sequence[Record], name: str) -> float:
    """Share of the records in which a field is text that is not empty."""
    values = [field_of(record, name) for record in records]
    return sum(isinstance(value, str) and bool(value) for value in values) / max(1, len(values))


def _mean_chars(records: Sequence[Record], name: str) -> float:
    return fmean([len(value) for record in records if isinstance(value := field_of(record, name), str)] or [0])


def _names_records(records: Sequence[Record], name: str) -> bool:
    """Whether a field has a short value of its own in every record."""
    values = [field_of(record, name) for record in records]
    given = [value for value in values if isinstance(value, str | int) and value != "" and len(str(value)) < 1000]
    return len(given) >= MOST * len(records) and len(set(given)) == len(given)
