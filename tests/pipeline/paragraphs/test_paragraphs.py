"""Paragraphs: which copy stays, what the account says, and that neither depends on shards, ranges or earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from in_process import InProcess
from mixproof.ledger.account import Count
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup, ParagraphDedup
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import read_bitmap
from mixproof.pipeline.cuts import lists
from mixproof.pipeline.cuts.rewritten import CutSources
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.paragraphs import copies, paragraph_hashes
from mixproof.pipeline.paragraphs.cutting import cut_text
from mixproof.pipeline.paragraphs.paragraph_hashes import line_blocks, paragraphs_of
from mixproof.pipeline.paragraphs.paragraphs import deduplicate_paragraphs
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import SHARD_BYTES

MakeSpec = Callable[..., Spec]
Texts = Mapping[str, Mapping[str, Sequence[str]]]

SHARE = "Share this article with friends"  # 5 words
COOKIES = "We use cookies to serve you"  # 6 words
TEXTS: Texts = {
    "blog": {
        "1.jsonl": [
            f"{SHARE}\nA first post about bread and salt",
            f"On rye\n{SHARE}!\nand on wheat, spelt and millet too",
        ],
        "2.jsonl": [f"share THIS article, with friends\n{COOKIES}", "Nothing of it is anywhere else at all\n"],
    },
    "news": {
        "1.jsonl": [f"{COOKIES}\nMillet prices rose again on Monday\n{COOKIES}\n", f"{SHARE}\n\n{COOKIES}\nshort"]
    },
}
RULE = ParagraphDedup(min_words=4, min_doc_words=3)


def write(folder: Path, texts: Texts) -> None:
    """Write sources of JSON lines."""
    for source, files in texts.items():
        (folder / source).mkdir(exist_ok=True)
        for name, each in files.items():
            (folder / source / name).write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in each))


def run(
    folder: Path, make_spec: MakeSpec, rule: Dedup, *, shard_bytes: int = SHARD_BYTES, store: str = "store"
) -> tuple[dict[str, list[str]], CutSources, InProcess]:
    """The texts that each source is left with, in order."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("store"))
    spec = make_spec({name: [f"{name}/*.jsonl"] for name in names}, dedup=rule)
    place = Store(folder / store)
    cluster = InProcess()
    with cluster:
        sources = read_sources(spec, find_files(spec, folder), place, cluster, shard_bytes=shard_bytes)
        whole = deduplicate(spec, sources, place, cluster)
        before = {name: whole.rows.get(name, source.ledger[-1]) for name, source in sources.items()}
        found = deduplicate_paragraphs(Selection(spec, sources, whole.keep, before, place, cluster))
    left: dict[str, list[str]] = {}
    for name, source in found.sources.items():
        left[name] = []
        for shard, bitmap in zip(source.shards, found.keep[name], strict=True):
            texts = pq.read_table(place.path(f"{shard.folder}/documents.parquet"))["text"].to_pylist()
            keep = read_bitmap(place, bitmap, shard.documents)
            left[name] += [text for text, stays in zip(texts, keep, strict=True) if stays]
    return left, found, cluster


def listed(folder: Path, found: CutSources, source: str) -> list[tuple[Any, ...]]:
    """The rows of a source's lists, without ids."""
    rows = [row for part in found.lists[source] for row in pq.read_table(folder / "store" / part.path).to_pylist()]
    return [tuple(value for name, value in row.items() if name != "id") for row in rows]


@pytest.mark.parametrize("shard_bytes", [60, 150, SHARD_BYTES])
def test_the_first_of_each_paragraph_stays_and_the_account_closes(
    tmp_path: Path, make_spec: MakeSpec, shard_bytes: int
) -> None:
    write(tmp_path, TEXTS)
    left, found, _ = run(tmp_path, make_spec, Dedup(paragraphs=RULE), shard_bytes=shard_bytes)
    assert left == {
        "blog": [
            f"{SHARE}\nA first post about bread and salt",
            "On rye\nand on wheat, spelt and millet too",
            COOKIES,
            "Nothing of it is anywhere else at all\n",
        ],
        "news": ["Millet prices rose again on Monday\n"],
    }
    blog, news = found.rows["blog"], found.rows["news"]
    assert (blog.documents_in, blog.documents_out, blog.bytes_removed, blog.dropped) == (4, 4, 33 + 33, {})
    gone = len(f"{SHARE}\n\n{COOKIES}\nshort")
    assert (news.documents_in, news.documents_out, news.bytes_removed) == (2, 1, 2 * 28)
    assert news.dropped == {"too_short": Count(documents=1, bytes=gone)}
    assert (blog.bytes_out, news.bytes_out) == tuple(sum(map(len, left[name])) for name in ("blog", "news"))
    assert found.matrix == (
        MatrixRow(source="blog", lost_to="blog", documents=0, bytes=66),
        MatrixRow(source="news", lost_to="blog", documents=1, bytes=56 + gone),
    )
    assert listed(tmp_path, found, "blog") == [
        ("1.jsonl", 1, [1], "blog", 33, None),
        ("2.jsonl", 0, [0], "blog", 33, None),
    ]
    assert listed(tmp_path, found, "news") == [
        ("1.jsonl", 0, [0, 2], "blog", 56, None),
        ("1.jsonl", 1, [0, 2], "blog", gone, "too_short"),
    ]


def test_lists_and_texts_have_the_same_checksums_under_any_split_and_any_number_of_ranges(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, TEXTS)
    rule = Dedup(paragraphs=RULE)
    first = run(tmp_path, make_spec, rule)
    monkeypatch.setattr(copies, "RANGE_PARAGRAPHS", 2)
    monkeypatch.setattr(lists, "ROW_GROUP_ROWS", 1)
    assert copies.range_count(9) == 8
    second = run(tmp_path, make_spec, rule, shard_bytes=60, store="store2")
    assert first[0] == second[0]
    for one, other in ((first[1], second[1]),):
        assert (one.rows, one.matrix, one.lists.keys()) == (other.rows, other.matrix, other.lists.keys())
        assert [part.documents for part in one.lists["news"]] == [part.documents for part in other.lists["news"]]
    monkeypatch.undo()
    third = run(tmp_path, make_spec, rule, shard_bytes=60, store="store3")
    assert third[1].lists == first[1].lists


def test_long_lists_are_cut_into_parts_at_documents(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, TEXTS)
    _, whole, _ = run(tmp_path, make_spec, Dedup(paragraphs=RULE))
    rows = listed(tmp_path, whole, "blog")
    monkeypatch.setattr(lists, "PART_DOCUMENTS", 1)
    _, parts, _ = run(tmp_path, make_spec, Dedup(paragraphs=RULE))
    assert [part.documents for part in parts.lists["blog"]] == [1, 1]
    assert listed(tmp_path, parts, "blog") == rows


def test_priority_scope_and_the_choice_of_sources(tmp_path: Path, make_spec: MakeSpec) -> None:
    write(tmp_path, TEXTS)
    news_first, found, _ = run(tmp_path, make_spec, Dedup(paragraphs=RULE, keep=("news",)))
    assert news_first["news"][0] == f"{COOKIES}\nMillet prices rose again on Monday\n"
    assert "too_short" not in found.rows["news"].dropped
    alone, found, _ = run(tmp_path, make_spec, Dedup(paragraphs=RULE, scope="source"))
    assert alone["blog"][2] == COOKIES
    assert alone["news"][0] == f"{COOKIES}\nMillet prices rose again on Monday\n"
    assert {(row.source, row.lost_to) for row in found.matrix} == {("blog", "blog"), ("news", "news")}
    only = RULE.model_copy(update={"sources": ("blog",)})
    some, found, _ = run(tmp_path, make_spec, Dedup(paragraphs=only))
    assert some["news"] == list(TEXTS["news"]["1.jsonl"])
    assert (found.rows["news"].documents_in, found.rows["news"].bytes_removed, found.lists["news"]) == (2, 0, ())


def test_a_document_that_went_whole_keeps_no_paragraph_from_others(tmp_path: Path, make_spec: MakeSpec) -> None:
    copy = "A text that stands twice\nand has two lines to keep"
    write(tmp_path, {"a": {"1.jsonl": [copy, copy, "A text that stands twice\nand goes on in its own way"]}})
    left, found, _ = run(tmp_path, make_spec, Dedup(paragraphs=RULE))
    assert left == {"a": [copy, "and goes on in its own way"]}
    assert found.rows["a"].documents_in == 2
    none = ParagraphDedup(min_words=4, min_doc_words=1)
    _, found, _ = run(tmp_path, make_spec, Dedup(exact=False, paragraphs=none))
    assert found.rows["a"].dropped == {"no_new_paragraph": Count(documents=1, bytes=len(copy))}


def test_an_appended_file_writes_only_what_it_changes(tmp_path: Path, make_spec: MakeSpec) -> None:
    write(tmp_path, TEXTS)
    rule = Dedup(paragraphs=RULE)
    run(tmp_path, make_spec, rule)
    _, _, again = run(tmp_path, make_spec, rule)
    assert again.stages_run == 0
    write(tmp_path, {"news": {"2.jsonl": [f"{SHARE}\nA new day has come to the market"]}})
    left, _, cluster = run(tmp_path, make_spec, rule)
    assert left["news"][-1] == "A new day has come to the market"
    assert cluster.tasks["paragraphs"] == 1
    assert cluster.tasks["cut paragraphs"] == 1


def test_files_of_a_tree_keep_their_names(tmp_path: Path, make_spec: MakeSpec) -> None:
    (tmp_path / "code").mkdir()
    for name, text in {"a.txt": f"{SHARE}\none", "b.txt": f"one two three\n{SHARE}\n"}.items():
        (tmp_path / "code" / name).write_text(text)
    spec = make_spec({"code": Source(files=("code/*",), format="code")}, dedup=Dedup(paragraphs=RULE))
    store = Store(tmp_path / "store")
    with InProcess() as cluster:
        sources = read_sources(spec, find_files(spec, tmp_path), store, cluster)
        before = {name: source.ledger[-1] for name, source in sources.items()}
        found = deduplicate_paragraphs(Selection(spec, sources, {"code": (None,)}, before, store, cluster))
    table = pq.read_table(store.path(f"{found.sources['code'].shards[0].folder}/documents.parquet"))
    assert table.schema == pq.read_schema(store.path(f"{sources['code'].shards[0].folder}/documents.parquet"))
    assert table.select(["file", "text"]).to_pylist() == [
        {"file": "a.txt", "text": f"{SHARE}\none"},
        {"file": "b.txt", "text": "one two three\n"},
    ]
    assert listed(tmp_path, found, "code") == [("b.txt", 0, [1], "code", 32, None)]


def test_off_means_that_nothing_is_cut(tmp_path: Path, make_spec: MakeSpec) -> None:
    write(tmp_path, TEXTS)
    left, found, _ = run(tmp_path, make_spec, Dedup())
    assert left == {name: [text for file in files.values() for text in file] for name, files in TEXTS.items()}
    assert (found.rows, found.lists, found.matrix) == ({}, {}, ())


def test_paragraphs_are_lines_and_equal_where_their_words_are() -> None:
    texts = ["a b c\nA, b c.\n\nélan vital\n", "", "a b c", "\n\n", "c b a", "elan vital"]
    data = [text.encode() for text in texts]
    found = paragraphs_of(b"".join(data), np.cumsum([0, *map(len, data)]))
    assert found.texts.tolist() == [0, 0, 0, 0, 2, 3, 3, 4, 5]
    assert found.indices.tolist() == [0, 1, 2, 3, 0, 0, 1, 0, 0]
    assert found.words.tolist() == [3, 3, 0, 2, 3, 0, 0, 3, 2]
    for halves in (found.high, found.low):
        a, same, blank, accent, other, _, _, reversed_, plain = halves.tolist()
        assert a == same == other != reversed_
        assert blank == 0 != accent != plain


def test_cutting_keeps_every_other_byte() -> None:
    text = "ä\r\n b\n\nc\n".encode()
    assert cut_text(text, ()) == text
    assert cut_text(text, {0}) == b" b\n\nc\n"
    assert cut_text(text, {1, 3}) == "ä\r\n\n".encode()
    assert cut_text(b"a\nb", {1}) == b"a"


@given(st.text("ab\n", max_size=30), st.integers(1, 6), st.data())
def test_blocks_of_lines_and_cuts_are_those_of_the_whole_text(text: str, size: int, data: st.DataObject) -> None:
    lines = text.encode().split(b"\n")
    cut = data.draw(st.sets(st.integers(0, len(lines) - 1)))
    assert cut_text(text.encode(), cut) == b"\n".join(line for at, line in enumerate(lines) if at not in cut)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paragraph_hashes, "LONG_BYTES", size)
        blocks = list(line_blocks(text.encode()))
    assert b"".join(blocks) == text.encode()
    assert all(block.endswith(b"\n") and block.count(b"\n", size) == 1 for block in blocks[:-1])


LINES = st.lists(st.sampled_from(["one two", "TWO one", "Two, one", "three four five", "", "x"]), max_size=4)


@given(st.lists(LINES.map("\n".join), max_size=12), st.integers(1, 3))
def test_what_goes_is_what_a_walk_over_all_lines_finds(texts: list[str], cut: int) -> None:
    data = [text.encode() for text in texts]
    first, second = data[: len(data) // cut], data[len(data) // cut :]
    tables = []
    for shard, part in enumerate((first, second)):
        found = paragraphs_of(b"".join(part), np.cumsum([0, *map(len, part)]))
        for place in np.flatnonzero(found.words >= 2):
            tables.append((found.high[place], found.low[place], found.texts[place], found.indices[place], shard))
    gone = copies.copies_of(np.array(tables, dtype=copies.SHARD_PARAGRAPH_DTYPE))
    seen: dict[tuple[str, ...], tuple[int, int]] = {}
    expected = []
    for shard, part in enumerate((first, second)):
        for row, text in enumerate(part):
            for line_at, line in enumerate(text.decode().split("\n")):
                words = tuple(line.lower().replace(",", "").split())
                if len(words) >= 2 and words in seen:
                    expected.append((shard, row, line_at, *seen[words]))
                elif len(words) >= 2:
                    seen[words] = (shard, row)
    assert gone.tolist() == expected


def test_texts_without_a_long_line_lose_nothing(tmp_path: Path, make_spec: MakeSpec) -> None:
    write(tmp_path, {"a": {"1.jsonl": ["x\ny", "x\nz", " "], "2.jsonl": []}, "b": {"1.jsonl": ["x\nw"]}})
    left, found, _ = run(tmp_path, make_spec, Dedup(paragraphs=RULE))
    assert left == {"a": ["x\ny", "x\nz", " "], "b": ["x\nw"]}
    assert found.lists == {"a": (), "b": ()}
