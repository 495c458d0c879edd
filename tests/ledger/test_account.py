"""Accounts add up, and an equation that does not close names where."""

from __future__ import annotations

import pickle

import pytest

from mixproof.ledger.account import Count, StageRow, check_chain, sum_rows
from mixproof.ledger.errors import AccountError

READ = StageRow(
    stage="read", documents_in=10, documents_out=8, bytes_in=800, bytes_out=800,
    dropped={"invalid_json": Count(documents=2, bytes=0)},
)  # fmt: skip
LENGTH = StageRow(
    stage="length", documents_in=8, documents_out=5, bytes_in=800, bytes_out=700,
    dropped={"too_short": Count(documents=3, bytes=100)},
)  # fmt: skip


def test_a_chain_that_closes_passes() -> None:
    check_chain([READ, LENGTH], source="web")
    assert READ.check() is READ


def test_a_record_that_vanished_breaks_e1_and_names_the_source() -> None:
    row = READ.model_copy(update={"documents_out": 7})
    with pytest.raises(AccountError, match="E1 does not close .source web, stage read.: expected 10, found 9"):
        row.check(source="web")


def test_bytes_that_vanished_break_e2() -> None:
    row = LENGTH.model_copy(update={"bytes_out": 699})
    with pytest.raises(AccountError, match="E2 does not close .*expected 800, found 799"):
        row.check(source="web")


def test_bytes_added_and_removed_by_a_formatter_count() -> None:
    row = StageRow(
        stage="ftfy",
        documents_in=1,
        documents_out=1,
        bytes_in=100,
        bytes_out=97,
        bytes_added=2,
        bytes_removed=5,
    )
    assert row.check() is row


def test_documents_lost_between_two_stages_break_e3_and_name_the_second() -> None:
    late = LENGTH.model_copy(update={"documents_in": 7, "documents_out": 4})
    with pytest.raises(AccountError) as caught:
        check_chain([READ, late], source="web", unit="read/abc")
    assert (caught.value.equation, caught.value.stage, caught.value.unit) == ("E3", "length", "read/abc")


def test_rows_of_shards_add_up_by_reason() -> None:
    other = READ.model_copy(update={"documents_in": 9, "dropped": {"blank_line": Count(documents=1, bytes=0)}})
    total = sum_rows([READ, other])
    assert (total.documents_in, total.documents_out, total.bytes_in) == (19, 16, 1600)
    assert {reason: count.documents for reason, count in total.dropped.items()} == {
        "blank_line": 1,
        "invalid_json": 2,
    }


def test_rows_of_different_stages_do_not_add() -> None:
    with pytest.raises(ValueError, match="length.*read"):
        sum_rows([READ, LENGTH])


def test_the_error_survives_the_way_back_from_another_process() -> None:
    error = AccountError("E5", 3, 4, source="web", stage="encode", unit="s")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert (str(again), again.equation, again.found) == (str(error), "E5", 4)
