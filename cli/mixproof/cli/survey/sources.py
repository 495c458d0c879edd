"""Groups of files into sources: their fields and sizes by a sample, and what cannot be a source, with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mixproof.pipeline.inputs.formats import TREES, Format
from mixproof.tokenize.estimate import BYTES_PER_TOKEN, USUAL_UNPACKED

from .fields import Fields, find_fields, languages_of
from .listing import Group, ListedFile, Listing, Skipped
from .patterns import patterns_of
from .sample import EMPTY, Record, Sample, sample_file

MOST_SAMPLED = 12
"""Files of a group that are looked at, the first and the last among them."""
MOST_MIXED = 1000
"""Files that are looked at, one by one, where those differ in their fields."""
LEAST_DOCUMENTS = 20
LEAST_BYTES = 50_000
"""Of text: from less, a held-out set and a training set cannot be taken."""
TEXT_ONLY = Fields("text", None)
"""Of formats whose records have no fields."""


@dataclass(frozen=True)
class FoundSource:
    """Files that can be a source."""

    name: str
    patterns: tuple[str, ...]
    """Relative to the surveyed folder."""
    format: Format
    declared: bool
    """Whether the spec must say the format, because the names do not."""
    fields: Fields
    files: int
    bytes: int
    documents: int | None
    """An estimate by the sample; None for a WARC, of which none is taken."""
    text_bytes: int
    """UTF-8 bytes, also an estimate."""
    languages: tuple[tuple[str, float], ...]
    """What the records name, with their shares in the sample."""
    texts: tuple[str, ...]
    """Texts of the sample."""

    @property
    def tokens(self) -> int:
        """About as many."""
        return self.text_bytes // BYTES_PER_TOKEN


def find_sources(
    listing: Listing, text: str | None = None, id_field: str | None = None
) -> tuple[list[FoundSource], list[Skipped]]:
    """Look into the files of a listing.

    Args:
        listing: the files.
        text: the field that must hold the text; None: the most likely one of each source.
        id_field: the same for the id.
    """
    found: list[FoundSource] = []
    skipped = list(listing.skipped)
    for group in listing.groups:
        parts, faulty = _by_fields(listing.root, group, text, id_field)
        skipped += faulty
        for fields, samples in parts:
            files = _files_of(group, parts, samples)
            source = _source(listing, group, fields, files, samples)
            small = _too_small(source)
            if small is None:
                found.append(source)
            else:
                skipped.append(Skipped(files[0].name if len(files) == 1 else source.name, len(files), small))
    return sorted(_named_apart(found), key=lambda source: source.name), skipped


T = TypeVar("T")
Sampled = list[tuple[ListedFile, Sample]]


def _by_fields(
    root: Path, group: Group, text: str | None, id_field: str | None
) -> tuple[list[tuple[Fields, Sampled]], list[Skipped]]:
    """The sampled files of a group by their fields, and those that cannot be read or hold no text.

    Where the sampled ones differ, every file is looked at.
    """
    chosen = _spread(group.files, MOST_SAMPLED)
    parts, faulty = _divide(root, group, chosen, text, id_field)
    if (len(parts) > 1 or faulty) and len(chosen) < len(group.files):
        parts, faulty = _divide(root, group, group.files[:MOST_MIXED], text, id_field)
        left = len(group.files) - MOST_MIXED
        if left > 0:
            reason = f"not looked at: files of this folder differ, and the first {MOST_MIXED:,} were taken"
            faulty.append(Skipped(group.files[MOST_MIXED].name, left, reason))
    return parts, faulty


def _divide(
    root: Path, group: Group, files: Sequence[ListedFile], text: str | None, id_field: str | None
) -> tuple[list[tuple[Fields, Sampled]], list[Skipped]]:
    parts: dict[tuple[str, str | None, str | None], tuple[Fields, Sampled]] = {}
    faulty, empty = [], []
    for file in files:
        sample = sample_file(root / file.name, group.format)
        if sample.problem == EMPTY:
            empty.append((file, Sample((), 1.0)))
            continue
        if sample.problem is not None:
            faulty.append(Skipped(file.name, 1, sample.problem))
            continue
        plain = group.format in TREES or group.format in ("warc", "wet")
        fields = TEXT_ONLY if plain else find_fields(sample.records, text, id_field)
        if fields is None:
            faulty.append(Skipped(file.name, 1, _no_text(sample.records, text)))
        else:
            parts.setdefault((fields.text, fields.id, fields.kind), (fields, []))[1].append((file, sample))
    if parts:  # an empty file harms no source
        next(iter(parts.values()))[1].extend(empty)
    else:
        faulty += [Skipped(file.name, 1, EMPTY) for file, _ in empty]
    return list(parts.values()), faulty


def _files_of(group: Group, parts: Sequence[tuple[Fields, Sampled]], sampled: Sampled) -> tuple[ListedFile, ...]:
    """The files of a part: all of the group where it is the only part and every sampled file is in it."""
    if len(parts) == 1 and len(sampled) == min(len(group.files), MOST_SAMPLED):
        return group.files
    return tuple(file for file, _ in sampled)


def _source(
    listing: Listing, group: Group, fields: Fields, files: tuple[ListedFile, ...], sampled: Sampled
) -> FoundSource:
    texts = [text for _, one in sampled for record in one.records if (text := fields.text_of(record))]
    documents, text_bytes = _sizes(group.format, fields, files, sampled)
    named: Counter[str] = Counter()
    for _, one in sampled:
        named.update(languages_of(one.records, fields.language) if fields.language else {})
    return FoundSource(
        name=_name(group, files),
        patterns=patterns_of(listing, group, files),
        format=group.format,
        declared=group.format == "code"
        or (group.format == "text" and any(f.suffix[:4].lower() != ".txt" for f in files)),
        fields=fields,
        files=len(files),
        bytes=sum(file.bytes for file in files),
        documents=documents,
        text_bytes=text_bytes,
        languages=tuple((name, count / named.total()) for name, count in named.most_common()),
        texts=tuple(_spread(texts, 200)),
    )


def _sizes(kind: Format, fields: Fields, files: Sequence[ListedFile], sampled: Sampled) -> tuple[int | None, int]:
    """Documents and bytes of text of all files, by what the sampled ones hold."""
    total = sum(file.bytes for file in files)
    if kind in ("warc", "wet"):
        return None, sum(file.bytes * USUAL_UNPACKED.get(file.suffix.lower().rpartition(".")[2], 1) for file in files)
    if kind in TREES:
        return len(files), total
    seen = sum(file.bytes * one.share for file, one in sampled)
    texts = [fields.text_of(record) for _, one in sampled for record in one.records]
    size = sum(len(text.encode(errors="replace")) for text in texts if text is not None)
    return int(len(texts) * total / seen), int(size * total / seen)


def _too_small(source: FoundSource) -> str | None:
    if source.documents is not None and source.documents < LEAST_DOCUMENTS:
        what = "one document" if source.documents == 1 else f"{source.documents} documents"
        return f"{what}: too few for a training and a held-out set (needs {LEAST_DOCUMENTS})"
    if source.text_bytes < LEAST_BYTES:
        return f"about {source.text_bytes / 1000:.0f} KB of text: too little (needs {LEAST_BYTES // 1000} KB)"
    return None


def _no_text(records: Sequence[Record], text: str | None) -> str:
    names = list(dict.fromkeys(name for record in records for name in record))
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    if text is not None:
        return f"no field {text!r} with text in it (fields: {shown})"
    chat = "; its messages are not conversations that end with an answer" if "messages" in names else ""
    return f"no field holds text (fields: {shown}){chat}"


def _name(group: Group, files: Sequence[ListedFile]) -> str:
    """A name of letters, digits, dots, dashes and underscores."""
    whole = len(files) == len(group.files)
    stem = group.folder if group.folder and whole else group.stem or _stem(files[0])
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")
    return name or group.format


def _stem(file: ListedFile) -> str:
    return file.name.rpartition("/")[2].removesuffix(file.suffix)


def _named_apart(sources: Sequence[FoundSource]) -> list[FoundSource]:
    """Add the format, then a number, to names that several sources have."""
    counts = Counter(source.name for source in sources)
    named: dict[str, FoundSource] = {}
    for source in sources:
        name = source.name if counts[source.name] == 1 else f"{source.name}_{source.format}"
        number = 2
        unique = name
        while unique in named:
            unique, number = f"{name}_{number}", number + 1
        named[unique] = _renamed(source, unique)
    return list(named.values())


def _renamed(source: FoundSource, name: str) -> FoundSource:
    return FoundSource(**{**vars(source), "name": name})


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most this many of some items, evenly from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
