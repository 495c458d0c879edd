"""Tables of mixtures and scores: joined by index, renormalized, and nothing dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.observations import Mixtures, Observations, read_mixtures, read_observations
from mixproof.mixtures.search.phases.run_phases import read_phases

WEIGHTS = "index,web,code\n1,0.5,0.5\n2,0.75,0.25\n3,0.6,0.4\n"
RUN = Mixtures(("web", "code"), np.array([[0.5, 0.5]]))
SCORES = "index,loss\n3,30\n1,10\n2,20\n"

Read = Callable[[str, str], Observations]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_texts(weights: str, scores: str) -> Observations:
        (tmp_path / "w.csv").write_text(weights)
        (tmp_path / "s.csv").write_text(scores)
        return read_observations(tmp_path / "w.csv", tmp_path / "s.csv")

    return from_texts


def test_rows_are_joined_by_their_index_whatever_their_order(read: Read) -> None:
    found = read(WEIGHTS, SCORES)
    assert found.mixtures.sources == ("web", "code")
    assert found.scores == ("loss",)
    assert found.mixtures.shares.tolist() == [[0.6, 0.4], [0.5, 0.5], [0.75, 0.25]]
    assert found.values.tolist() == [[30], [10], [20]]


def test_one_row_has_one_index_however_programs_spell_it(read: Read) -> None:
    assert read("index,a\n1.0,1\n02,1\n", "index,loss\n1,5\n2,6\n").values.tolist() == [[5], [6]]


def test_tables_without_an_index_are_joined_by_their_order(read: Read) -> None:
    assert read("a,b\n1,0\n0,1\n", "loss\n5\n6\n").mixtures.shares.tolist() == [[1, 0], [0, 1]]


def test_rounded_shares_are_renormalized_and_percentages_are_shares(read: Read) -> None:
    found = read("index,a,b\n1,0.498,0.498\n2,0.25,0.753\n", "index,loss\n1,5\n2,6\n").mixtures.shares
    assert found.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert found[0].tolist() == [0.5, 0.5]
    assert read("index,a,b\n1,60,40\n2,50,50\n", "index,loss\n1,5\n2,6\n").mixtures.shares[0].tolist() == [0.6, 0.4]


@pytest.mark.parametrize(
    ("weights", "scores", "message"),
    [
        (WEIGHTS, "index,loss\n1,10\n2,20\n", r"w.csv: 1 rows have no score in the other file, for example index 3"),
        (WEIGHTS, SCORES + "4,40\n", r"s.csv: 1 rows have no mixture in the other file, for example index 4"),
        (WEIGHTS, "index,loss\n1,10\n2,\n3,1\n", r"s.csv:3: loss: '' is not a finite number"),
        (WEIGHTS, "index,loss\n1,10\n2,nan\n3,1\n", r"s.csv:3: loss: 'nan' is not a finite number"),
        (WEIGHTS, "index,loss\n1,10\n1,20\n3,1\n", r"s.csv:3: index 1 already occurs in line 2"),
        (WEIGHTS, "index,loss\n1,10,11\n2,20\n", r"s.csv:2: has 3 cells, but the header has 2"),
        (WEIGHTS, "index\n1\n", r"s.csv: has no column besides 'index'"),
        (WEIGHTS, "loss\n1\n2\n3\n", r"s.csv: no column 'index' joins its rows with those of .*w.csv"),
        (WEIGHTS, "index,loss,loss\n1,1,1\n", r"s.csv:1: the column 'loss' occurs twice"),
        (WEIGHTS, ",loss\n1,1\n", r"s.csv:1: column 1 has no name"),
        (WEIGHTS, "index,loss\n", r"s.csv: has no rows"),
        (WEIGHTS, "", r"s.csv: is empty"),
        (WEIGHTS, "index,loss\n1,1e200\n", r"s.csv:2: loss: '1e200' is not a finite number below 1e100"),
        (WEIGHTS, "index;loss\n1;2\n", r"s.csv:1: columns are separated by ';'; separate them by commas"),
        ("index,a,b\n1,0.5,0.2\n", "index,loss\n1,1\n", r"w.csv:2: the shares sum to 0.7, not to 1"),
        ("index,a,b\n1,1.5,-0.5\n", "index,loss\n1,1\n", r"w.csv:2: the share of b is negative"),
        ("a,b\n1,0\n", "loss\n1\n2\n", r"w.csv has 1 rows and .*s.csv 2"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(read: Read, weights: str, scores: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(weights, scores)


def test_a_missing_file_is_an_error_of_the_request(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="none.csv: cannot be read as CSV: No such file or directory"):
        read_mixtures(tmp_path / "none.csv", RUN)


def test_mixtures_to_predict_may_have_their_columns_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("code,index,web\n0.2,7,0.8\n0.5,6,0.5\n")
    assert read_mixtures(tmp_path / "p.csv", RUN).tolist() == [[0.8, 0.2], [0.5, 0.5]]


def test_mixtures_to_predict_have_the_sources_that_were_run_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("web,books\n0.5,0.5\n")
    with pytest.raises(SpecError, match="column 'books' is not a source"):
        read_mixtures(tmp_path / "p.csv", RUN)
    (tmp_path / "p.csv").write_text("web\n1\n")
    with pytest.raises(SpecError, match="there is no column 'code'"):
        read_mixtures(tmp_path / "p.csv", RUN)


@pytest.mark.parametrize("first", [2**53, 173285123456789024, 10**40])
def test_an_index_is_exact_at_any_size(first: int, read: Read) -> None:
    weights = f"index,a,b\n{first},1,0\n{first + 1},0,1\n"
    assert read(weights, f"index,loss\n{first + 1},5\n{first},6\n").values.tolist() == [[5], [6]]
    with pytest.raises(SpecError, match=rf"2 rows have no mixture in the other file, for example index {first + 2}, "):
        read(weights, f"index,loss\n{first + 2},5\n{first + 3},6\n")


def test_an_index_that_is_no_number_or_endless_is_text(read: Read) -> None:
    weights = "index,a,b\nnan,1,0\n1e999999999,0,1\n"
    assert read(weights, "index,loss\n1e999999999,5\nnan,6\n").mixtures.shares.tolist() == [[0, 1], [1, 0]]


def test_parameters_and_tokens_beside_shares_are_sizes_of_runs_in_the_order_of_the_scores(read: Read) -> None:
    found = read("index,parameters,a,tokens,b\n1,1M,0.5,20M,0.5\n2,6e7,0,1.2B,1\n", "index,loss\n2,5\n1,6\n")
    assert found.mixtures.sources == ("a", "b") and found.mixtures.shares.tolist() == [[0, 1], [0.5, 0.5]]
    assert found.sizes is not None and found.sizes.names == ("parameters", "tokens")
    assert found.sizes.values.tolist() == [[6e7, 1.2e9], [1e6, 2e7]]
    with pytest.raises(SpecError, match=r"w.csv:2: parameters must be above 0, not 0"):
        read("index,parameters,a\n1,0,1\n", "index,loss\n1,5\n")


PHASED = "index,stable:web,stable:code,decay:code,decay:web\n1,0.5,0.5,0.2,0.8\n2,0.249,0.749,100e-2,0\n"
TWO_SCORES = "index,loss\n1,5\n2,6\n"
PHASES = read_phases("stable=80%,decay=100%")


@pytest.fixture
def read_phased(tmp_path: Path) -> Read:
    def from_texts(weights: str, scores: str) -> Observations:
        (tmp_path / "w.csv").write_text(weights)
        (tmp_path / "s.csv").write_text(scores)
        return read_observations(tmp_path / "w.csv", tmp_path / "s.csv", PHASES)

    return from_texts


def test_the_shares_of_each_phase_are_one_mixture(read_phased: Read) -> None:
    found = read_phased(PHASED, TWO_SCORES).mixtures
    assert found.sources == ("web", "code")
    assert found.columns == ("stable:web", "stable:code", "decay:web", "decay:code")
    assert found.shares[0].tolist() == [0.5, 0.5, 0.8, 0.2]
    assert found.shares[1].tolist() == pytest.approx([0.2495, 0.7505, 0, 1], abs=1e-4)  # .998 is rounding


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("stable:web,stable:code,decay:web,decay:code", "0.5,0.5,0.5,0.2", "w.csv:2: the shares of phase decay sum to"),
        ("stable:web,stable:code,decay:web,code", "0.5,0.5,0.5,0.5", "w.csv: column 'code' names no phase"),
        ("stable:web,stable:code,cool:web,decay:code", "1,0,1,0", "w.csv: column 'cool:web': --phases has no phase"),
        ("stable:web,stable:code,decay:web", "0.5,0.5,1", "w.csv: there is no column 'decay:code'; add it, with 0"),
        ("stable:web,stable:code,decay:web,decay:code", "0.5,0.5,1.5,-0.5", "the share of decay:code is negative"),
    ],
)
def test_what_no_phase_has_is_named(read_phased: Read, header: str, row: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_phased(f"index,{header}\n1,{row}\n2,{row}\n", TWO_SCORES)


def test_columns_of_phases_without_their_ends_are_asked_for_them(read: Read) -> None:
    with pytest.raises(SpecError, match=r"if stable and decay are phases, say .* --phases stable=\.\.\.,decay=100%"):
        read(PHASED, TWO_SCORES)
