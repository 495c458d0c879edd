"""A page of many sources: the largest are shown, the others are one source whose numbers are their sums."""

from __future__ import annotations

import json

import pytest

from mixproof.ledger.account import check_chain
from mixproof.tokenize.page import abridged as module
from mixproof.tokenize.page.abridged import abridged
from mixproof.tokenize.page.account import account_table, losses
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.tokenize.page.build_page import source_looks
from mixproof.tokenize.page.flow import flow_of_texts, flow_of_tokens
from small_manifest import divided_manifest, manifest

LISTS = {"code": {"rejected": [{"path": "a"}]}, "english": {"rejected": [{"path": "b"}]}}


def evidence() -> BuildEvidence:
    made = manifest()
    return BuildEvidence(made, Statement("manifest.json", made.to_bytes().decode()), {"lists": LISTS})


def test_a_build_of_few_sources_is_shown_whole() -> None:
    build = evidence()
    assert abridged(build).build is build
    assert abridged(build).sentence == ""


def test_the_sum_of_the_smaller_sources_has_their_losses_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SOURCES", 1)
    build = evidence()
    shown = abridged(build).build
    name = "2 smaller sources"
    assert set(shown.manifest.sources) == {"english", name}
    check_chain(shown.manifest.sources[name].ledger, source=name)
    assert [(one.stage, one.reason, one.documents) for one in losses(shown.manifest)] == [
        (one.stage, one.reason, one.documents) for one in losses(build.manifest)
    ]
    for unit in ("bytes", "documents"):
        whole, short = flow_of_texts(build.manifest, unit), flow_of_texts(shown.manifest, unit)
        assert [[(one.label, one.total) for one in stage.exits] for stage in short.stages] == [
            [(one.label, one.total) for one in stage.exits] for stage in whole.stages
        ]
        assert sum(short.remaining.values()) == sum(whole.remaining.values())
    tokens = [sum(flow_of_tokens(each.manifest).remaining.values()) for each in (build, shown)]
    assert tokens[0] == tokens[1] == sum(source.train.tokens for source in build.manifest.sources.values())
    assert [(row.source, row.lost_to, row.documents) for row in shown.manifest.dedup_matrix] == [
        (name, name, 20),
        (name, "english", 5),
    ]


def test_its_proofs_point_into_the_text_that_is_shown_and_the_checksum_is_that_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_SOURCES", 1)
    build = evidence()
    found = abridged(build)
    assert found.build.id == build.id
    assert "the sum of the 2 others" in found.sentence
    stated = json.loads(found.build.statement.text)
    table = account_table(found.build, source_looks(found.build.manifest), 0)
    for cell in (cell for row in table.rows for cell in row if cell.proof):
        value = stated
        for key in str(cell.proof).partition(":/")[2].split("/"):
            value = value[key]
        assert value == cell.sort
    assert found.build.circumstances["lists"] == {"2 smaller sources": LISTS["code"], "english": LISTS["english"]}


def test_a_divided_source_is_summed_up_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SOURCES", 1)
    made = divided_manifest()
    build = BuildEvidence(made, Statement("manifest.json", made.to_bytes().decode()), {})
    shown = abridged(build).build.manifest
    for unit in ("bytes", "documents"):
        assert sum(flow_of_texts(shown, unit).remaining.values()) == sum(flow_of_texts(made, unit).remaining.values())
