"""Substrings: which copy stays, what the account says, and that neither depends on shards, ranges or sections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.ledger.account import Count
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup, SubstringDedup
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import read_bitmap
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import SHARD_BYTES
from mixproof.pipeline.removed.removed import list_removed
from mixproof.pipeline.substrings import substrings, windows
from mixproof.pipeline.substrings.cut_ranges import bytes_of_each, ranges_to_cut, without
from mixproof.pipeline.substrings.substrings import deduplicate_substrings

MakeSpec = Callable[..., Spec]
Texts = Mapping[str, Mapping[str, Sequence[str]]]

WINDOW = 50
RULE = SubstringDedup(bytes=WINDOW, min_doc_words=3)
NOTICE = "All rights to the words above are reserved by the one who wrote them down."  # 74 bytes
WAVES = "Über die Wellen, ächzend und früh, fährt das Schiff nach Süden."  # 68 bytes


def write(folder: Path, texts: Texts) -> None:
    for source, files in texts.items():
        (folder / source).mkdir(exist_ok=True)
        for name, each in files.items():
            (folder / source / name).write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in each))


class Run:
    """Substring deduplication of sources of JSON lines, in this process."""

    def __init__(
        self, folder: Path, make_spec: MakeSpec, rule: Dedup, shard_bytes: int = SHARD_BYTES, store: str = "store"
    ) -> None:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("store"))
        spec = make_spec({name: [f"{name}/*.jsonl"] for name in names}, dedup=rule)
        self.store = Store(folder / store)
        with InProcess() as cluster:
            sources = read_sources(spec, find_files(spec, folder), self.store, cluster, shard_bytes=shard_bytes)
            whole = deduplicate(spec, sources, self.store, cluster)
            before = {name: whole.rows.get(name, source.ledger[-1]) for name, source in sources.items()}
            selection = Selection(spec, sources, whole.keep, before, self.store, cluster)
            self.found = deduplicate_substrings(selection)
            removed = list_removed(dict.fromkeys(sources, ()), self.found.duplicates, self.store, cluster)
        self.stages_run = cluster.stages_run
        self.removed = {name: list(self._rows(each.path for each in lists)) for name, lists in removed.items()}

    def _rows(self, paths: Iterator[str]) -> Iterator[dict[str, Any]]:
        for path in paths:
            yield from pq.read_table(self.store.path(path)).to_pylist()

    def listed(self, source: str) -> list[dict[str, Any]]:
        """The rows of a source's lists."""
        return list(self._rows(part.path for part in self.found.lists[source]))

    @property
    def left(self) -> dict[str, list[str]]:
        """The texts that each source is left with, in order."""
        texts: dict[str, list[str]] = {}
        for name, source in self.found.sources.items():
            texts[name] = []
            for shard, bitmap in zip(source.shards, self.found.keep[name], strict=True):
                own = pq.read_table(self.store.path(f"{shard.folder}/documents.parquet"))["text"].to_pylist()
                keep = read_bitmap(self.store, bitmap, shard.documents)
                texts[name] += [text for text, stays in zip(own, keep, strict=True) if stays]
        return texts


def by_brute_force(texts: Texts, order: Sequence[str]) -> dict[str, list[str]]:
    """What is left of sources: a character goes if all of its bytes are in windows that occur earlier."""
    first: dict[bytes, tuple[int, int]] = {}
    left: dict[str, list[str]] = {}
    row = 0
    for source in order:
        left[source] = []
        for text in (text for _, each in sorted(texts[source].items()) for text in each):
            data = text.encode()
            gone = np.zeros(len(data), np.bool_)
            for start in range(len(data) - WINDOW + 1):
                at_row, at = first.setdefault(data[start : start + WINDOW], (row, start))
                if at_row < row or at + WINDOW <= start:
                    gone[start : start + WINDOW] = True
            ends = np.cumsum([len(letter.encode()) for letter in text])
            kept = [c for c, end in zip(text, ends, strict=True) if not gone[end - len(c.encode()) : end].all()]
            left[source].append("".join(kept))
            row += 1
    return left


@pytest.fixture(scope="module")
def random_texts() -> Texts:
    """Sources of texts made of pieces of a few sentences, some of them in the middle of a character's bytes."""
    random = Random(3)  # noqa: S311  reproducible texts
    sentences = [NOTICE, WAVES, "short one. ", "ж" * 40, "a" * 120, "The end of it, after all that was said. "]

    def text() -> str:
        parts = [random.choice(sentences) for _ in range(random.randrange(9))]
        return "".join(part[random.randrange(3) :] for part in parts) + str(random.random())

    return {
        source: {f"{file}.jsonl": [text() for _ in range(random.randrange(1, 9))] for file in range(3)}
        for source in ("a", "b", "c")
    }


def test_what_is_cut_is_that_of_brute_force_under_any_split(
    tmp_path: Path, make_spec: MakeSpec, random_texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, random_texts)
    rule = Dedup(exact=False, substrings=SubstringDedup(bytes=WINDOW, min_doc_words=1), keep=("c",))
    first = Run(tmp_path, make_spec, rule)
    left = by_brute_force(random_texts, ["c", "a", "b"])
    expected = {name: [text for text in texts if any(map(str.isalnum, text))] for name, texts in left.items()}
    assert first.left == expected
    assert sum(row.bytes_removed for row in first.found.rows.values()) > 1000
    monkeypatch.setattr(substrings, "RANGE_ANCHORS", 200)
    monkeypatch.setattr(substrings, "RANGE_WINDOWS", 3000)
    monkeypatch.setattr(windows, "SECTION_WINDOWS", 333)
    second = Run(tmp_path, make_spec, rule, shard_bytes=1500, store="store2")
    assert second.left == first.left
    assert (second.found.rows, second.found.matrix, second.found.lists, second.removed) == (
        first.found.rows,
        first.found.matrix,
        first.found.lists,
        first.removed,
    )
    assert Run(tmp_path, make_spec, rule, shard_bytes=1500, store="store2").stages_run == 0


TEXTS: Texts = {
    "blog": {"1.jsonl": [f"On bread and salt. {NOTICE}", f"{WAVES} And then? {NOTICE} No more of it.", "ab " * 60]},
    "news": {"1.jsonl": [f"x{WAVES}", f"{NOTICE}", f"Two words {NOTICE}"]},
}


def test_the_first_stays_and_the_account_and_both_lists_say_what_went(tmp_path: Path, make_spec: MakeSpec) -> None:
    write(tmp_path, TEXTS)
    run = Run(tmp_path, make_spec, Dedup(substrings=RULE.model_copy(update={"min_doc_words": 2})))
    blog, news = run.found.rows["blog"], run.found.rows["news"]
    assert run.left["blog"] == [f"On bread and salt. {NOTICE}", f"{WAVES} And then? No more of it.", "ab " * 17]
    assert run.left["news"] == ["Two words"]
    assert (blog.documents_in, blog.documents_out, blog.bytes_removed, blog.dropped) == (3, 3, 75 + 129, {})
    assert (news.documents_in, news.documents_out, news.bytes_removed) == (3, 1, 75)
    assert news.dropped == {"no_new_text": Count(documents=1, bytes=74), "too_short": Count(documents=1, bytes=69)}
    assert run.found.matrix == (
        MatrixRow(source="blog", lost_to="blog", documents=0, bytes=75 + 129),
        MatrixRow(source="news", lost_to="blog", documents=2, bytes=75 + 74 + 69),
    )
    (second, third) = run.listed("blog")
    assert (second["record"], second["starts"], second["lengths"]) == (1, [len(WAVES.encode()) + 10], [75])
    assert (second["kept_sources"], second["kept_files"]) == (["blog"], ["1.jsonl"])
    assert (second["kept_records"], second["kept_starts"], second["bytes"]) == ([0], [18], 75)
    assert (third["starts"], third["kept_starts"], third["lengths"]) == ([51, 102, 129], [0, 0, 0], [52, 52, 51])
    assert [(row["reason"], row["record"], row["kept_record"]) for row in run.removed["news"]] == [
        ("too_short", 0, 1),
        ("no_new_text", 1, 0),
    ]


def test_scope_and_the_choice_of_sources(tmp_path: Path, make_spec: MakeSpec) -> None:
    write(tmp_path, TEXTS)
    alone = Run(tmp_path, make_spec, Dedup(substrings=RULE.model_copy(update={"min_doc_words": 1}), scope="source"))
    assert alone.left["news"] == [f"x{WAVES}", NOTICE, "Two words "]
    assert {(row.source, row.lost_to) for row in alone.found.matrix} == {("blog", "blog"), ("news", "news")}
    some = Run(tmp_path, make_spec, Dedup(substrings=RULE.model_copy(update={"sources": ("blog",)})))
    assert some.left["news"] == list(TEXTS["news"]["1.jsonl"])
    assert (some.found.rows["news"].bytes_removed, some.found.lists["news"]) == (0, ())


def test_bytes_that_only_share_a_hash_are_not_cut(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{number} {NOTICE}"[:WINDOW] for number in range(10, 20)]
    write(tmp_path, {"a": {"1.jsonl": [*texts, texts[0]]}})
    monkeypatch.setattr(windows, "hashes_of_all", lambda data, length: np.ones(len(data) - length + 1, np.uint64))
    monkeypatch.setattr(windows, "_is_in", lambda keys, repeated: np.ones(len(keys), np.bool_))
    run = Run(tmp_path, make_spec, Dedup(exact=False, substrings=RULE))
    assert run.left["a"] == texts
    assert run.found.rows["a"].dropped == {"no_new_text": Count(documents=1, bytes=WINDOW)}


def test_only_whole_characters_go() -> None:
    text = "aüb→c".encode()  # a, 2 bytes, b, 3 bytes, c
    assert ranges_to_cut(text, [(2, 3)]) == [(3, 4)]
    assert ranges_to_cut(text, [(1, 3), (4, 3)]) == [(1, 7)]
    assert ranges_to_cut(text, [(5, 1)]) == []
    assert without(text, [(1, 3), (7, 8)]).decode() == "ab→"
    assert bytes_of_each([(0, 3), (2, 3), (6, 2)], ranges_to_cut(text, [(0, 3), (2, 3), (6, 2)])) == [3, 1, 1]
