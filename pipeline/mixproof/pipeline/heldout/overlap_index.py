"""The stored index of held-out and evaluation texts: arrays that every task maps into memory.

Held-out texts come first, by source, then those of evaluation files, by file. An index of 10M words takes about 0.5 GB
on disk; the processes of a machine share its pages.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from mixproof.ledger.errors import MixproofError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.pipeline.columns import read_whole, table_of
from mixproof.pipeline.load_array import load_array
from mixproof.pipeline.readers.unchanged import verified
from mixproof.pipeline.words.ngrams import Ragged
from mixproof.pipeline.words.postings import Postings

from .evaluation import EvaluationFile, read_evaluation_file
from .heldout_set import PROMPT_HASH, HeldoutSet
from .overlap import OverlapIndex, build_index
from .questions import QuestionIndex, build_questions

INDEX = "overlap_index"
VERSION = 4
TEXTS = "texts.parquet"
PROMPTS = "prompts.parquet"
"""Of held-out conversations: the hash of each prompt, and the number of its text. Absent if there are none."""
TRIPLES = "triples"
"""Of an index of questions: its files are `triples.<array>.npy`."""
EDITED_VERSION = 1
"""Of the search for edited questions."""
SHOWN_CHARS = 200

TEXTS_SCHEMA = pa.schema(
    [
        pa.field("match", pa.string()),
        pa.field("match_record", pa.int64()),
        pa.field("match_field", pa.string()),
        pa.field("match_xxh128", pa.string()),
        pa.field("match_start", pa.string()),
    ]
)
PROMPTS_SCHEMA = pa.schema([pa.field(PROMPT_HASH, pa.string()), pa.field("text", pa.int64())])


@dataclass(frozen=True)
class IndexedTexts:
    """What is reported about the texts of an index, and their hashes."""

    rows: list[dict[str, Any]]
    by_hash: dict[str, int]
    """The first text with each hash (32 hex digits)."""
    by_prompt: dict[str, int] = field(default_factory=dict)
    """The first held-out conversation with each hash of a prompt (32 hex digits)."""

    def describe(self, text: int) -> dict[str, Any]:
        """Return the columns `match*` of a document that was dropped because of a text."""
        return self.rows[text]

    def place(self, text: int) -> tuple[str, int, str | None]:
        """File or set, record and field of a text."""
        row = self.rows[text]
        return row["match"], row["match_record"], row["match_field"]


def index_key(ngram: int, sets: Sequence[HeldoutSet], against: Sequence[EvaluationFile]) -> str:
    """Make the key of the index of these sets and files."""
    identity = [[each.source, each.sha256] for each in sets], [_identity(each) for each in against]
    return stage_key(INDEX, VERSION, {"ngram": ngram}, identity)


def questions_key(ngram: int, answers: int, against: Sequence[EvaluationFile]) -> str:
    """Make the key of the index of questions; `answers` is the number of words from which answers are protected."""
    config = {"questions": ngram, "answers": answers, "edited": EDITED_VERSION}
    return stage_key(INDEX, VERSION, config, [_identity(each) for each in against])


def make_questions(store: Store, key: str, ngram: int, answers: int, against: Sequence[EvaluationFile]) -> None:
    """Index the texts of evaluation files by short n-grams (Ray task)."""
    texts: list[str] = []
    rows: list[tuple[str, int, str | None]] = []
    for file in against:
        with verified(file.file.url, file.sha256):
            found, _ = read_evaluation_file(file, answers)
        texts += [each.text for each in found]
        rows += [(f"evaluation/{file.file.name}", each.record, each.field) for each in found]
    with store.attempt(INDEX, key) as attempt:
        index = build_questions(texts, ngram)
        save_index(index.overlap, attempt.path("."))
        _save(index.triples, TRIPLES, attempt.path("."))
        pq.write_table(_described(texts, rows), attempt.path(TEXTS), compression="zstd")
        attempt.commit(facts={"ngram": ngram, "protected": 0})


def _described(texts: Sequence[str], rows: Sequence[tuple[str, int, str | None]]) -> pa.Table:
    """What is reported about texts."""
    hashes = [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts]
    starts = [text[:SHOWN_CHARS] for text in texts]
    described = [(*row, text_hash, start) for row, text_hash, start in zip(rows, hashes, starts, strict=True)]
    return table_of(described, TEXTS_SCHEMA)


def _identity(file: EvaluationFile) -> list[object]:
    return [file.file.name, file.sha256, file.rule.fields, file.rule.passages]


def make_index(
    store: Store, key: str, ngram: int, sets: Sequence[HeldoutSet], against: Sequence[EvaluationFile]
) -> None:
    """Index the texts of held-out sets and evaluation files."""
    texts: list[str] = []
    rows: list[tuple[str, int, str | None]] = []
    prompts: list[tuple[str, int]] = []
    summaries: list[dict[str, object]] = []
    for each in sets:
        columns = ["record", "text", *([PROMPT_HASH] if each.is_marked else [])]
        table = read_whole(store.path(each.path), columns)
        if each.is_marked:
            prompts += zip(table[PROMPT_HASH].to_pylist(), range(len(texts), len(texts) + table.num_rows), strict=True)
        texts += table["text"].to_pylist()
        rows += [(f"heldout/{each.source}", record, None) for record in table["record"].to_pylist()]
    protected = len(texts)
    for file in against:
        with verified(file.file.url, file.sha256):
            found, summary = read_evaluation_file(file, ngram)
        texts += [each.text for each in found]
        rows += [(f"evaluation/{file.file.name}", each.record, each.field) for each in found]
        summaries.append(summary.plain())
    index = build_index(texts, ngram, protected)
    with store.attempt(INDEX, key) as attempt:
        save_index(index, attempt.path("."))
        pq.write_table(_described(texts, rows), attempt.path(TEXTS), compression="zstd")
        if prompts:
            pq.write_table(table_of(prompts, PROMPTS_SCHEMA), attempt.path(PROMPTS), compression="zstd")
        attempt.commit(facts={"ngram": ngram, "protected": protected, "evaluation": summaries})


def copy_texts(store: Store, key: str, folder: Path) -> None:
    """Copy from a finished index what does not change with its n-grams."""
    for name in (TEXTS, PROMPTS, *(f"{TRIPLES}.{part.name}.npy" for part in fields(Postings))):
        if (store.folder(f"{INDEX}/{key}") / name).is_file():
            shutil.copyfile(store.folder(f"{INDEX}/{key}") / name, folder / name)


def save_index(index: OverlapIndex, folder: Path) -> None:
    """Write every array of the index as `<field>.<array>.npy`."""
    for part in fields(index):
        _save(getattr(index, part.name), part.name, folder)


def _save(value: object, name: str, folder: Path) -> None:
    for suffix, array in _arrays(value):
        np.save(folder / f"{name}{suffix}.npy", array, allow_pickle=False)


@lru_cache(maxsize=2)
def _load(store_url: str, key: str) -> tuple[OverlapIndex, IndexedTexts]:
    store = Store(store_url)
    receipt = store.receipt(INDEX, key)
    if receipt is None:
        raise MixproofError(f"{store.location(f'{INDEX}/{key}')} is missing or incomplete; run the command again")
    folder = store.folder(f"{INDEX}/{key}")

    def array(name: str) -> Any:  # noqa: ANN401 - its dtype is that of its field
        return _mapped(folder, name)

    def postings(name: str) -> Postings:
        return _postings(folder, name)

    index = OverlapIndex(
        ngram=int(receipt.facts["ngram"]),
        protected=int(receipt.facts["protected"]),
        words=Ragged(array("words.values"), array("words.offsets")),
        sizes=array("sizes"),
        grams=postings("grams"),
        wholes=postings("wholes"),
        heads=postings("heads"),
        anchors=postings("anchors"),
        ignored=array("ignored"),
    )
    rows = read_whole(folder / TEXTS).to_pylist()
    by_hash: dict[str, int] = {}
    for number, row in enumerate(rows):
        by_hash.setdefault(row["match_xxh128"], number)
    by_prompt: dict[str, int] = {}
    if (folder / PROMPTS).is_file():
        for row in read_whole(folder / PROMPTS).to_pylist():
            by_prompt.setdefault(row[PROMPT_HASH], row["text"])
    return index, IndexedTexts(rows, by_hash, by_prompt)


def load_index(store: Store, key: str) -> tuple[OverlapIndex, IndexedTexts]:
    """Map a finished index into memory; a process caches the last two."""
    return _load(str(store), key)


def load_questions(store: Store, key: str) -> tuple[QuestionIndex, IndexedTexts]:
    """Map a finished index of questions into memory."""
    index, texts = load_index(store, key)
    return QuestionIndex(index, _postings(store.folder(f"{INDEX}/{key}"), TRIPLES)), texts


def _mapped(folder: Path, name: str) -> Any:  # noqa: ANN401 - its dtype is that of its field
    return load_array(folder / f"{name}.npy", mmap_mode="r")


def _postings(folder: Path, name: str) -> Postings:
    return Postings(**{part.name: _mapped(folder, f"{name}.{part.name}") for part in fields(Postings)})


def _arrays(value: object) -> list[tuple[str, Any]]:
    if isinstance(value, np.ndarray):
        return [("", value)]
    if isinstance(value, Ragged | Postings):
        return [(f".{part.name}", getattr(value, part.name)) for part in fields(value)]
    return []
