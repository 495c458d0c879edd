"""The account on the terminal: every loss in its column, columns that add up, a warning for sources that lost most."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Experiment
from mixproof.cli.tables.account_table import account_table, large_losses, losses_of
from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.ledger.records.inputs import InputsRecord
from mixproof.ledger.records.source import SourceRecord


def row(stage: str, entering: int, **dropped: int) -> StageRow:
    """A row that only drops; a document has 10 bytes."""
    leaving = entering - sum(dropped.values())
    counts = {reason: Count(documents=number, bytes=10 * number) for reason, number in dropped.items()}
    return StageRow(
        stage=stage,
        documents_in=entering,
        documents_out=leaving,
        bytes_in=10 * entering,
        bytes_out=10 * leaving,
        dropped=counts,
    )


@pytest.fixture
def manifest(experiment: Experiment) -> Manifest:
    return read_manifest(experiment.store / "builds" / experiment.result["build"]["build"] / "manifest.json")


def with_ledger(manifest: Manifest, *rows: StageRow, kept: int, held_out: int) -> SourceRecord:
    """A source with this ledger."""
    source = manifest.sources["guide"]
    train = source.train.model_copy(update={"documents": kept, "tokens": 7000})
    heldout = source.heldout.model_copy(update={"documents": held_out, "tokens": 300})
    inputs: InputsRecord = source.inputs
    return source.model_copy(update={"train": train, "heldout": heldout, "inputs": inputs, "ledger": rows})


ROWS: tuple[StageRow, ...] = (
    row("read", 112, invalid_json=4, blank_line=8, of_another_part=0),
    row("length", 100, too_short=30),
    row("gopher_quality#2", 70, gopher_short_doc=10),
    row("dedup", 60, exact_duplicate=9, fuzzy_duplicate=6),
    row("paragraphs", 45, too_short=2),
    row("substrings", 43, no_new_text=1),
    row("decontaminate", 42, heldout_overlap=1, evaluation_overlap=1),
    row("split", 40),
    row("encode", 40, no_tokens=1),
)


def test_each_loss_is_in_the_column_of_its_kind(manifest: Manifest) -> None:
    source = with_ledger(manifest, *ROWS, kept=35, held_out=4)
    assert losses_of(source) == {
        "rejected": 12,
        "filters": 40,
        "exact": 9,
        "fuzzy": 6,
        "semantic": 0,
        "paragraphs": 2,
        "substrings": 1,
        "decontaminated": 2,
        "no tokens": 1,
    }


def cells(manifest: Manifest) -> dict[str, list[Any]]:
    """The cells of the account by column."""
    return {str(column.header): list(map(str, column.cells)) for column in account_table(manifest).columns}


def test_the_columns_of_a_row_add_up_to_its_records_and_unused_columns_are_left_out(manifest: Manifest) -> None:
    found = cells(manifest)
    assert "fuzzy" not in found and "paragraphs" not in found and "exact" in found
    parts = [name for name in found if name not in ("source", "records", "train tokens", "held-out tokens")]
    for index, records in enumerate(found["records"]):
        assert sum(int(found[name][index].replace(",", "")) for name in parts) == int(records.replace(",", ""))
    whole = manifest.model_copy(update={"sources": {"guide": with_ledger(manifest, *ROWS, kept=35, held_out=4)}})
    assert {name: column[0] for name, column in cells(whole).items()} == {
        "source": "guide",
        "records": "112",
        "rejected": "12",
        "filters": "40",
        "exact": "9",
        "fuzzy": "6",
        "paragraphs": "2",
        "substrings": "1",
        "decontaminated": "2",
        "no tokens": "1",
        "held out": "4",
        "kept": "35",
        "train tokens": "7,000",
        "held-out tokens": "300",
    }


def test_a_source_that_lost_more_than_half_is_warned_about_and_skipped_records_are_no_loss(manifest: Manifest) -> None:
    source = with_ledger(manifest, *ROWS, kept=35, held_out=4)
    lost = manifest.model_copy(update={"sources": {"guide": source}})
    assert list(large_losses(lost)) == ["guide: 62.50% of 104 records are lost, most of them to filters (40)"]
    half = with_ledger(manifest, row("read", 20, blank_line=10), row("length", 10, too_short=5), kept=5, held_out=0)
    assert list(large_losses(manifest.model_copy(update={"sources": {"guide": half}}))) == []
    assert list(large_losses(manifest)) == []


def test_supervised_tokens_have_a_column_where_there_are_conversations(manifest: Manifest) -> None:
    assert "supervised tokens" not in cells(manifest)
    guide = manifest.sources["guide"]
    train = guide.train.model_copy(update={"supervised_tokens": 321})
    chat = guide.model_copy(update={"train": train})
    shown = cells(manifest.model_copy(update={"sources": {**manifest.sources, "guide": chat}}))
    supervised = dict(zip(shown["source"], shown["supervised tokens"], strict=True))
    assert supervised["guide"] == "321"
    assert supervised["manual"] == f"{manifest.sources['manual'].train.tokens:,}"


def test_of_many_sources_the_largest_are_shown_and_the_columns_still_add_up(manifest: Manifest) -> None:
    source = with_ledger(manifest, *ROWS, kept=35, held_out=4)
    many = {f"s{number:04d}": source for number in range(100)}

    shown = cells(manifest.model_copy(update={"sources": many, "cells": {}}))

    assert len(shown["source"]) == 41
    assert shown["source"][-1] == "60 smaller ones"
    assert shown["kept"][-1] == "2,100"
    assert sum(int(number.replace(",", "")) for number in shown["kept"]) == 3500
