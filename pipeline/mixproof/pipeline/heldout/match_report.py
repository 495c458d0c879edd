"""The report of decontamination: by file and question, which documents were dropped, and how much they share.

It is read from the lists of a finished build. The texts of questions are read again from the evaluation files and the
held-out sets, so the report shows them whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store

from .evaluation import EvaluationFile, read_evaluation_file
from .match_lists import MATCHES

EVALUATION, HELDOUT = "evaluation/", "heldout/"


@dataclass(frozen=True)
class MatchedDocument:
    """A document that was dropped, and what it shares with a text."""

    source: str
    file: str
    record: int
    id: str | None
    shared_ngrams: int
    text_ngrams: int
    document_ngrams: int
    longest_run: str
    longest_run_words: int
    excerpt: str
    by_words: bool
    """Whether the numbers of n-grams are numbers of words: a short text was aligned word by word."""

    @property
    def share(self) -> float:
        """The larger share of n-grams: of the text's, or of the document's."""
        return self.shared_ngrams / max(1, min(self.text_ngrams, self.document_ngrams))


@dataclass
class MatchedText:
    """A question, or a held-out document, that documents were dropped for."""

    record: int
    field: str | None
    """Of its record; None for a held-out text."""
    text: str
    documents: list[MatchedDocument]


@dataclass
class MatchedFile:
    """An evaluation file or a held-out set."""

    name: str
    """`evaluation/<file>` or `heldout/<source>`."""
    texts: int
    """Protected ones."""
    matched: dict[tuple[int, str | None], MatchedText]

    @property
    def documents(self) -> int:
        """Documents that were dropped; one that matches several texts counts once."""
        return len({(one.source, one.file, one.record) for text in self.matched.values() for one in text.documents})


def read_matches(
    store: Store,
    manifest: Manifest,
    lists: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    against: Sequence[EvaluationFile],
    ngram: int,
) -> list[MatchedFile]:
    """Read the report of a build.

    Args:
        store: of the build.
        manifest: of the build.
        lists: `lists` of its circumstances: by source and kind.
        against: the evaluation files of its spec, as they are now.
        ngram: words per n-gram.
    """
    files, texts = _protected(store, manifest, against, ngram)
    for source, kinds in sorted(lists.items()):
        for listed in kinds.get("decontaminated", ()):
            path = store.path(str(listed["path"])).with_name(MATCHES)
            for row in pq.read_table(path).to_pylist() if path.is_file() else ():
                place = (row["match_record"], row["match_field"])
                matched = files[row["match"]].matched
                text = matched.setdefault(place, MatchedText(*place, texts.get((row["match"], *place), ""), []))
                text.documents.append(_document(source, listed, row))
    for each in files.values():
        each.matched = dict(sorted(each.matched.items(), key=lambda item: (item[0][0], item[0][1] or "")))
        for text in each.matched.values():
            text.documents.sort(key=lambda one: (-one.share, one.source, one.file, one.record))
    return [each for _, each in sorted(files.items())]


def _document(source: str, listed: Mapping[str, Any], row: Mapping[str, Any]) -> MatchedDocument:
    return MatchedDocument(
        source,
        row["file"] if listed["file"] is None else listed["file"],
        row["record"] + listed["first_record"],
        row["id"],
        row["shared_ngrams"],
        row["match_ngrams"],
        row["ngrams"],
        row["longest_run"],
        row["longest_run_words"],
        row["excerpt"],
        row.get("by_words", False),
    )


def _protected(
    store: Store, manifest: Manifest, against: Sequence[EvaluationFile], ngram: int
) -> tuple[dict[str, MatchedFile], dict[tuple[str, int, str | None], str]]:
    """The protected files by name, and their texts by file, record and field."""
    files: dict[str, MatchedFile] = {}
    texts: dict[tuple[str, int, str | None], str] = {}
    for file in against:
        name = f"{EVALUATION}{file.file.name}"
        found, _ = read_evaluation_file(file, ngram)
        files[name] = MatchedFile(name, len(found), {})
        texts |= {(name, each.record, each.field): each.text for each in found}
    for source, record in manifest.sources.items():
        stated = record.heldout.texts
        name = f"{HELDOUT}{source}"
        rows = [] if stated is None else pq.read_table(store.path(stated.path), columns=["record", "text"]).to_pylist()
        files[name] = MatchedFile(name, len(rows), {})
        texts |= {(name, row["record"], None): row["text"] for row in rows}
    return files, texts
