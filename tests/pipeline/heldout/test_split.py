"""E4: documents are train + held out, or the build fails."""

from __future__ import annotations

import pytest

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import AccountError
from mixproof.pipeline.heldout.split import split_row

BEFORE = StageRow(
    stage="decontaminate",
    documents_in=9,
    documents_out=8,
    bytes_in=90,
    bytes_out=80,
    dropped={"heldout_overlap": Count(documents=1, bytes=10)},
)


def test_the_row_drops_nothing() -> None:
    row = split_row("a", BEFORE, Count(documents=6, bytes=65), Count(documents=2, bytes=15))
    assert row == StageRow(stage="split", documents_in=8, documents_out=8, bytes_in=80, bytes_out=80)


@pytest.mark.parametrize(("documents", "size"), [(5, 65), (7, 65), (6, 64)])
def test_a_document_or_a_byte_too_few_or_too_many_is_an_error(documents: int, size: int) -> None:
    with pytest.raises(AccountError, match=r"E4 does not close \(source a, stage split\)"):
        split_row("a", BEFORE, Count(documents=documents, bytes=size), Count(documents=2, bytes=15))
