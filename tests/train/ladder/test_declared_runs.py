"""Ladders that no law can follow from, refused from the spec alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import SPEC
from mixproof.ledger.errors import RequestError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.train.ladder.declared_runs import check_chains, check_ladder

SIZES = ("nano", "62m", "350m")


def spec_with(folder: Path, budgets: dict[str, str]) -> Spec:
    """The small spec with these token budgets of shipped proxies."""
    lines = [f"    {name}: {{tokens: {tokens}, global_batch_size: 8, lr: 1.0e-3}}" for name, tokens in budgets.items()]
    head, _, rest = SPEC.partition("    nano: ")
    path = folder / "ladder.yaml"
    path.write_text(head + "\n".join(lines) + rest[rest.index("\n") :])
    return load_spec(path).spec


def test_three_sizes_with_three_budgets_make_a_ladder(tmp_path: Path) -> None:
    check_ladder(spec_with(tmp_path, dict.fromkeys(SIZES, "[1M, 4M, 16M]")))


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"nano": "[1M, 4M, 16M, 32M, 64M, 128M]"}, "3 or more different model sizes"),
        (dict.fromkeys(SIZES, "[1M, 2M]"), "3 or more different token counts"),
        ({"nano": "[1M, 4M]", "62m": "16M", "350m": "32M"}, "at 6 or more combinations"),
    ],
)
def test_too_few_sizes_budgets_or_runs_are_refused(tmp_path: Path, budgets: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        check_ladder(spec_with(tmp_path, budgets))
    assert "ladder.yaml" in str(caught.value) and "train.proxies" in str(caught.value)
    assert "Nothing was trained" in str(caught.value)


def test_a_chain_names_scores_of_what_is_scored() -> None:
    check_chains(["quiz_acc=web_bpb"], ["web", "quiz"])
    with pytest.raises(RequestError, match=r"'quz_acc' is not a score of the runs.*did you mean 'quiz'"):
        check_chains(["quz_acc=web_bpb"], ["web", "quiz"])
    with pytest.raises(RequestError, match="'' is not a score"):
        check_chains(["quiz_acc="], ["web", "quiz"])
