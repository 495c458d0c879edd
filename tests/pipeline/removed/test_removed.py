"""The list of removed documents: every one that the ledger counts, and the right twin of each duplicate."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from in_process import InProcess
from mixproof.ledger.account import StageRow
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup, FuzzyDedup, ParagraphDedup
from mixproof.mixtures.blocks.source import Source, Step
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.dedup import kept_ids
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.paragraphs.paragraphs import deduplicate_paragraphs
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import SHARD_BYTES
from mixproof.pipeline.removed import removed
from mixproof.pipeline.removed.pieces import REMOVED_SCHEMA
from mixproof.pipeline.shuffle import document_rows, plan

MakeSpec = Callable[..., Spec]
DIRECT = plan.MOST_OPENINGS
Row = tuple[str, str, str, int, str | None, str | None, str | None, int | None]

CHOSEN = random.Random(4)  # noqa: S311  a fixed choice
P, Q, ALONE = (" ".join(CHOSEN.choices([f"word{k}" for k in range(3000)], k=200)) for _ in range(3))
NEAR_P = P.replace(P.split()[50], "changed")
SHARE = "Share this article with friends"
COOKIES = "We use cookies to serve you better on every visit"
TERMS = "All terms and conditions of this site apply to it"
SHORT_KEEPER = f"{SHARE}\nOne report about bread and salt in winter"
LONG_KEEPER = f"{COOKIES}\n{TERMS}\nAnother report about millet and rye in summer"
RULE = Dedup(
    keep=("books",),
    fuzzy=FuzzyDedup(bands=20, rows=4, threshold=Fraction(7, 10)),
    paragraphs=ParagraphDedup(min_words=4, min_doc_words=3),
)


@dataclass(frozen=True)
class Result:
    """The lists of a small build, and its ledger."""

    rows: dict[str, list[Row]]
    files: dict[str, int]
    ledger: dict[str, list[StageRow]]

    def assert_complete(self) -> None:
        """Check that the rows of each source, stage and reason are as many as the ledger counts."""
        for name, chain in self.ledger.items():
            stated = {(row.stage, reason): count.documents for row in chain for reason, count in row.dropped.items()}
            assert Counter((row[0], row[1]) for row in self.rows[name]) == stated


def jsonl(texts: Sequence[str]) -> bytes:
    return b"".join(orjson.dumps({"id": f"i{n}", "text": text}) + b"\n" for n, text in enumerate(texts))


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def run(folder: Path, spec: Spec, shard_bytes: int) -> Result:
    store = Store(folder / f"store{shard_bytes}")
    with InProcess() as cluster:
        sources = read_sources(spec, find_files(spec, folder), store, cluster, shard_bytes=shard_bytes)
        whole = deduplicate(spec, sources, store, cluster)
        cut = deduplicate_paragraphs(Selection(spec, sources, whole.keep, whole.rows, store, cluster))
        lists = {name: source.lists for name, source in sources.items()}
        found = removed.list_removed(lists, (*whole.duplicates, *cut.duplicates), store, cluster)
        tasks = cluster.tasks["removed documents"]
        assert removed.list_removed(lists, (*whole.duplicates, *cut.duplicates), store, cluster) == found
        assert cluster.tasks["removed documents"] == tasks, "a list that is in the store was made again"
    rows: dict[str, list[Row]] = {name: [] for name in sources}
    for name, files in found.items():
        for each in files:
            table = pq.read_table(store.path(each.path))
            assert table.schema.equals(REMOVED_SCHEMA)
            assert (each.kind, each.file, each.first_record, each.rows) == ("removed", None, 0, len(table))
            assert table["cosine"].null_count == len(table), "no stage here computes a cosine"
            rows[name] += [tuple(row.values()) for row in table.drop_columns("cosine").to_pylist()]
    ledger = {
        name: [*source.ledger, whole.rows[name], *([cut.rows[name]] if name in cut.rows else [])]
        for name, source in sources.items()
    }
    return Result(rows, {name: len(files) for name, files in found.items()}, ledger)


@pytest.mark.parametrize(
    ("shard_bytes", "part_rows", "openings"),
    [(700, 1, DIRECT), (SHARD_BYTES, 1, DIRECT), (700, 10**6, DIRECT), (SHARD_BYTES, 10**6, DIRECT), (700, 1, 0)],
)
def test_every_removed_document_is_listed_with_its_reason_and_its_twin(
    tmp_path: Path,
    make_spec: MakeSpec,
    shard_bytes: int,
    part_rows: int,
    openings: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(removed, "PART_ROWS", part_rows)
    monkeypatch.setattr(plan, "MOST_OPENINGS", openings)
    monkeypatch.setattr(document_rows, "BLOCK_BYTES", 2 * kept_ids.ROW_BYTES)
    write(
        tmp_path,
        {
            "books/a.txt": Q.encode(),
            "books/b.txt": P.encode(),
            "news/1.jsonl": jsonl([ALONE, "tiny", f"{SHARE}\n{COOKIES}\n{TERMS}", Q]) + b"{broken\n",
            "blog/1.jsonl": jsonl([SHORT_KEEPER, ALONE, NEAR_P]),
            "blog/2.jsonl": jsonl([LONG_KEEPER, Q, P]),
        },
    )
    news = Source(files=("news/*.jsonl",), steps=(Step(name="length", options={"min_chars": 20}),))
    spec = make_spec({"books": ["books/*.txt"], "news": news, "blog": ["blog/*.jsonl"]}, dedup=RULE, reject="50%")
    result = run(tmp_path, spec, shard_bytes)
    result.assert_complete()
    assert result.rows == {
        "books": [],
        "blog": [
            ("dedup", "exact_duplicate", "2.jsonl", 1, "i1", "books", "a.txt", 0),
            ("dedup", "exact_duplicate", "2.jsonl", 2, "i2", "books", "b.txt", 0),
            ("dedup", "fuzzy_duplicate", "1.jsonl", 2, "i2", "books", "b.txt", 0),
        ],
        "news": [
            ("read", "invalid_json", "1.jsonl", 4, None, None, None, None),
            ("length", "too_short", "1.jsonl", 1, "i1", None, None, None),
            ("dedup", "exact_duplicate", "1.jsonl", 0, "i0", "blog", "1.jsonl", 1),
            ("dedup", "exact_duplicate", "1.jsonl", 3, "i3", "books", "a.txt", 0),
            ("paragraphs", "no_new_paragraph", "1.jsonl", 2, "i2", "blog", "2.jsonl", 0),
        ],
    }
    assert result.files["books"] == 0
    assert part_rows == 1 or result.files == {"books": 0, "blog": 1, "news": 1}
    assert part_rows != 1 or result.files["news"] >= 3
    assert any((tmp_path / f"store{shard_bytes}").glob("removed/*/records.bin")) == (openings == 0)


def test_a_document_is_never_named_as_its_own_twin(tmp_path: Path, make_spec: MakeSpec) -> None:
    repeats = f"{COOKIES}\n{COOKIES}"
    repeats_and_copies = f"{TERMS}\n{TERMS}\n{SHARE}"  # most of what it lost, it lost to itself
    write(tmp_path, {"a/1.jsonl": jsonl([SHORT_KEEPER]), "b/1.jsonl": jsonl([repeats, repeats_and_copies])})
    rule = Dedup(paragraphs=ParagraphDedup(min_words=4, min_doc_words=12))
    result = run(tmp_path, make_spec({name: [f"{name}/*.jsonl"] for name in ("a", "b")}, dedup=rule), SHARD_BYTES)
    result.assert_complete()
    assert result.rows["b"] == [
        ("paragraphs", "too_short", "1.jsonl", 0, "i0", None, None, None),
        ("paragraphs", "too_short", "1.jsonl", 1, "i1", "a", "1.jsonl", 0),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_an_exact_twin_has_the_same_text_and_is_the_first_in_order_of_priority(
    tmp_path: Path, make_spec: MakeSpec, seed: int
) -> None:
    chosen = random.Random(seed)  # noqa: S311  reproducible texts
    texts = {
        (source, name): [f"text {chosen.randrange(12)}" for _ in range(chosen.randrange(1, 15))]
        for source in ("a", "b", "c")
        for name in ("1.jsonl", "2.jsonl")
    }
    write(tmp_path, {f"{source}/{name}": jsonl(each) for (source, name), each in texts.items()})
    order = [*(("c", name) for name in ("1.jsonl", "2.jsonl")), *(key for key in texts if key[0] != "c")]
    first: dict[str, tuple[str, str, int]] = {}
    for key in order:
        for record, text in enumerate(texts[key]):
            first.setdefault(text, (*key, record))
    spec = make_spec({name: [f"{name}/*.jsonl"] for name in ("a", "b", "c")}, dedup=Dedup(keep=("c",)))
    result = run(tmp_path, spec, shard_bytes=60)
    result.assert_complete()
    assert sum(map(len, result.rows.values())) == sum(map(len, texts.values())) - len(first) > 0
    for source, rows in result.rows.items():
        for _, _, file, record, _, *kept in rows:
            assert tuple(kept) == first[texts[source, file][record]] != (source, file, record)


def test_drops_are_listed_without_texts_and_those_of_a_sampler_too(tmp_path: Path, make_spec: MakeSpec) -> None:
    write(tmp_path, {"a.jsonl": jsonl([f"document {n} of forty" for n in range(40)] + ["x"])})
    steps = (Step(name="length", options={"min_chars": 5}), Step(name="sampler", options={"rate": Fraction(1, 2)}))
    kept = {}
    for keep_dropped in (False, True):
        source = Source(files=("a.jsonl",), steps=steps, keep_dropped=keep_dropped)
        result = run(tmp_path, make_spec({"a": source}, dedup=Dedup()), SHARD_BYTES)
        result.assert_complete()
        assert 1 < result.ledger["a"][2].dropped["not_sampled"].documents < 40
        kept[keep_dropped] = result.rows
    assert kept[False] == kept[True]
    columns = {}
    for path in (tmp_path / f"store{SHARD_BYTES}/read").glob("*/dropped.parquet"):
        rows = pq.read_table(path).to_pylist()
        columns[tuple(rows[0])] = {(row["reason"], row.get("text")) for row in rows}
    assert columns == {
        ("record", "id", "step", "reason"): {("too_short", None), ("not_sampled", None)},
        ("record", "id", "step", "reason", "text"): {("too_short", "x"), ("not_sampled", None)},
    }
