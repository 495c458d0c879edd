"""Tables of runs from elsewhere: every cell is read or refused with its row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixproof.ledger.errors import RequestError
from mixproof.train.reported.runs_table import read_runs_table

HEADER = "mixture,parameters,tokens,seed,loss,acc\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "runs.csv"
    path.write_text(text)
    return path


def test_counts_are_numbers_or_quantities_and_a_score_may_be_missing(tmp_path: Path) -> None:
    table = read_runs_table(written(tmp_path, HEADER + "web,190M,3.8e9,1,2.5,0.25\nweb,190000000,7600000000,1,2.4,\n"))
    assert table.scores == ("loss", "acc") and table.mixtures == ("web",)
    first, second = table.runs
    assert (first.parameters, first.tokens, first.unique_tokens) == (190_000_000, 3_800_000_000, 3_800_000_000)
    assert first.scores == {"loss": 2.5, "acc": 0.25} and second.scores == {"loss": 2.4}
    assert table.to_json()["audited"] is False and table.to_json()["unchecked"]


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    columns = {
        "mixture": ["web"],
        "parameters": [10],
        "tokens": [100],
        "seed": [1],
        "unique_tokens": [50],
        "loss": [2.5],
    }
    pq.write_table(pa.table(columns), tmp_path / "runs.parquet")
    (run,) = read_runs_table(tmp_path / "runs.parquet").runs
    assert (run.parameters, run.tokens, run.unique_tokens, run.seed, run.scores) == (10, 100, 50, "1", {"loss": 2.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixture,parameters,seed,loss\n", "no column 'tokens'"),
        ("mixture,parameters,tokens,seed\nweb,1,1,1\n", "there is no score"),
        (HEADER, "has no rows below the header"),
        (HEADER + "web,190M,1B,1,2.5\n", "runs.csv:2: has 5 cells"),
        (HEADER + "web,-3,1B,1,2.5,0.1\n", "runs.csv:2: parameters: '-3' is not a positive whole number"),
        (HEADER + "web,190M,1B,1,2_5,0.1\n", "runs.csv:2: loss: '2_5' is not a finite number"),
        (
            HEADER + "web,190M,1B,1,2.512345,0.1\nweb,190M,1B,2,2.512345,0.1\n",
            r"runs.csv:3: seed 2 has exactly the scores of .*runs.csv:2; remove the copy",
        ),
        (HEADER + "web,190M,1B,1,2.5,60.1%\n", "runs.csv:2: acc: '60.1%' is .*; write percentages without the sign"),
        (HEADER + 'web,190M,1B,1,"2,5",0.1\n', "runs.csv:2: loss: '2,5' is not a finite number; write decimals with a"),
        (HEADER + "web,190M,1B,1,2.5,good\n", "runs.csv:2: acc: 'good' is .* is a score; remove the column"),
        ("Mixture,parameters,tokens,seed,loss\n", "no column 'mixture', but one 'Mixture'; rename it"),
        (HEADER + "web,190M,1B,1,nan,0.1\n", "runs.csv:2: loss: 'nan' is not a finite number"),
        (HEADER + "web,190M,1B,,2.5,0.1\n", "runs.csv:2: seed is empty"),
        (HEADER + "web,190M,1B,1,2.5,0.1\nweb,190000000,1e9,1,2.6,0.1\n", "is also in .*runs.csv:2; remove one"),
        ("mixture,parameters,tokens,seed,unique_tokens,loss\nweb,10,100,1,200,2.5\n", "unique_tokens 200 is more than"),
        ("mixture,parameters,tokens,seed,loss,loss\n", "'loss' occurs twice"),
    ],
)
def test_a_wrong_table_is_refused_with_its_row_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_runs_table(written(tmp_path, text))


def test_two_seeds_may_have_one_equal_accuracy(tmp_path: Path) -> None:
    rows = "web,190M,1B,1,2.512345,0.605549494\nweb,190M,1B,2,2.523456,0.605549494\n"
    assert len(read_runs_table(written(tmp_path, HEADER + rows)).runs) == 2
    alone = "mixture,parameters,tokens,seed,acc\nweb,190M,1B,1,0.605549494\nweb,190M,1B,2,0.605549494\n"
    assert len(read_runs_table(written(tmp_path, alone)).runs) == 2


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs.parquet").write_bytes(b"not Parquet")
    with pytest.raises(RequestError, match="cannot be read as Parquet"):
        read_runs_table(tmp_path / "runs.parquet")
    with pytest.raises(RequestError, match="cannot be read as CSV"):
        read_runs_table(tmp_path / "missing.csv")


def test_a_long_cell_that_is_no_number_takes_no_time(tmp_path: Path) -> None:
    digits = "1" * 100_000  # an expression that tries all divisions of the digits takes minutes
    with pytest.raises(RequestError, match="is not a finite number"):
        read_runs_table(written(tmp_path, HEADER + f"web,190M,1B,1,{digits}x,0.1\n"))


def test_a_cell_cannot_begin_a_line_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"runs.csv:3: a cell has several lines"):
        read_runs_table(written(tmp_path, HEADER + '"web\nverdict: web",190M,1B,1,2.5,0.1\n'))


def test_a_small_parquet_file_with_very_many_rows_is_refused(tmp_path: Path) -> None:
    names = ("mixture", "parameters", "tokens", "seed", "loss")
    pq.write_table(pa.table({name: pa.array([1] * 200_000) for name in names}), tmp_path / "runs.parquet")
    assert (tmp_path / "runs.parquet").stat().st_size < 10_000
    with pytest.raises(RequestError, match="more than 100,000 rows"):
        read_runs_table(tmp_path / "runs.parquet")
