"""Requests of runs and their records at their edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from mixproof.ledger.errors import RequestError
from mixproof.train.record import read_run
from mixproof.train.request import MAX_SEED, RunRequest


def test_a_seed_has_63_bits(make_request: Callable[..., RunRequest]) -> None:
    request = make_request()
    stated = request.model_dump()
    assert RunRequest(**stated | {"seed": MAX_SEED}).seed == 2**63 - 1
    for seed in (2**63, -1):
        with pytest.raises(ValidationError, match="seed"):
            RunRequest(**stated | {"seed": seed})


@pytest.mark.parametrize(
    ("text", "why"), [("{", "the file: Invalid JSON"), ("{}", "key: Field required"), ("[]", "the file: Input should")]
)
def test_a_damaged_record_is_named_with_the_way_out(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RequestError, match=rf"run\.json: not a run record of schema 1 .{why}.*delete the run's folder"):
        read_run(tmp_path / "run.json")
