"""A field that a spec names is looked for in a source's Parquet files before they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Source, Step
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.columns import check_columns


@pytest.fixture
def check(tmp_path: Path, make_spec: Callable[..., Spec]) -> Callable[[str, dict[str, Any]], None]:
    """Check a source of one Parquet file with the columns text, edu and meta {score, url}, and with one step."""
    rows = {"text": ["a"], "edu": [3.0], "meta": [{"score": 4.5, "url": "http://a.org"}]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")

    def run(name: str, options: dict[str, Any]) -> None:
        source = Source(files=("a.parquet",), steps=(Step(name="length"), Step(name=name, options=options)))
        spec = make_spec({"web": source})
        check_columns(spec, find_files(spec, tmp_path))

    return run


def test_fields_of_steps_are_columns_or_fields_inside_of_them(check: Callable[..., None]) -> None:
    check("score", {"field": "edu", "min": 1})
    check("score", {"field": "meta.score", "min": 1})
    check("url", {"field": "meta.url"})
    check("url", {})


@pytest.mark.parametrize("name", ["score", "url", "language"])
def test_a_step_whose_field_is_in_no_record_is_an_error(name: str, check: Callable[..., None]) -> None:
    message = (
        rf"a\.parquet: there is no field 'meta\.edu' for `steps\[1\]\.{name}\.field`: column 'meta' .* has score, url"
    )
    with pytest.raises(RequestError, match=message):
        check(name, {"field": "meta.edu"})
