"""`build --html`: the page of a real build says what its manifest says."""

from __future__ import annotations

import hashlib
import html
import json
import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Experiment, Finished
from mixproof.tokenize.page.labels import languages_table, parts_table
from mixproof.tokenize.page.palette import looks
from page_reader import Page
from small_manifest import SOURCES, manifest

Mixproof = Callable[..., Finished]


@pytest.fixture(scope="module")
def page(experiment: Experiment, mixproof: Mixproof, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of the small experiment's build."""
    file = tmp_path_factory.mktemp("page") / "build.html"
    done = mixproof("build", experiment.spec, "--store", experiment.store, "--html", file, "--json")
    assert done.code == 0, done.err
    assert done.json["stages_run"] == 0 and f"page: {file}" in done.err
    text = file.read_text()
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        (own,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = b64encode(hashlib.sha256(own.encode()).digest()).decode()
        (allowed,) = re.findall(f"{kind} (.*?);", html.unescape(text))
        assert f"'sha256-{digest}'" in allowed and "unsafe" not in allowed
    assert " style=" not in text, "the policy forbids styles in attributes"
    return Page(text)


def test_the_account_is_the_manifests(page: Page, experiment: Experiment) -> None:
    made = json.loads(Path(experiment.result["build"]["manifest"]).read_text())
    train = sum(source["train"]["documents"] for source in made["sources"].values())
    assert f"{train:,}" in page.texts["dd"]
    checked = 0
    for rows in page.tables.values():
        for cell in (cell for row in rows for cell in row if cell.href and ":/" in cell.href):
            assert cell.text == f"{page.value(str(cell.href)):,}"
            checked += 1
    assert checked > 40
    for link in page.links:
        assert link[1:].partition(":/")[0] in page.ids, link


def test_lengths_are_those_of_the_provenance(page: Page, experiment: Experiment) -> None:
    made = json.loads(Path(experiment.result["build"]["manifest"]).read_text())
    rows = {row[0]: row[1:] for row in page.rows("lengths-table")}
    for name, source in made["sources"].items():
        tokens = sorted(
            length
            for part in source["train"]["datasets"]
            for length in pq.read_table(experiment.store / part["provenance"])["tokens"].to_pylist()
        )
        assert rows[name][:2] == [f"{len(tokens):,}"] * 2
        assert (rows[name][2], rows[name][6]) == (f"{tokens[0]:,}", f"{tokens[-1]:,}")


def test_dropped_documents_have_samples_where_they_are_recorded(page: Page) -> None:
    summaries = page.texts["summary"]
    assert "dedup: exact duplicate" in summaries and "length: too short" in summaries
    assert "min_chars: 400" in page.texts["code"]
    assert "kept instead: manual, manual-0.jsonl.gz" in page.texts["pre"]
    assert (
        "importlib/readers.py, record 0" in page.texts["code"]
    )  # dropped by `length`, its text without `keep_dropped`
    assert "recorded for sources with keep_dropped: true" in page.texts["p"]


def test_the_page_says_when_and_where_it_was_made(page: Page) -> None:
    names = [row[0] for row in page.rows("versions-table")]
    assert {"machine", "processors", "python", "ray", "mixproof"} <= set(names)
    assert page.rows("work-table")[0][0].startswith("build ")
    assert {"read", "encode"} <= {row[0] for row in page.rows("stages-table")}


def test_parts_and_languages_are_listed_where_documents_are_labelled() -> None:
    made = manifest()
    assert parts_table(made, looks(SOURCES)).rows == () and languages_table(made).rows == ()
    sources = {f"docs/{name}": source for name, source in made.sources.items()}
    read, length, *others = sources["docs/code"].ledger
    foreign = length.model_copy(update={"dropped": {"language_de": length.dropped["too_short"]}})
    sources["docs/code"] = sources["docs/code"].model_copy(update={"ledger": (read, foreign, *others)})
    spec = {"sources": {name: {"split_by": "lang", "split_value": name[5:]} for name in sources}}
    split = made.model_copy(update={"sources": sources, "spec": spec})
    rows = [[cell.text for cell in row] for row in parts_table(split, looks(sources)).rows]
    # 227,125 of 227,125 + 2 * 237,500 tokens
    assert rows[0] == ["docs", "code", "882", "908,500", "227,125", "32.35%"]
    assert [[cell.text for cell in row] for row in languages_table(split).rows] == [["docs/code", "de", "30", "3,000"]]
