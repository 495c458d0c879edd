"""A run whose sources are cut to simulate a target is another mixture than one that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixproof.train.compare.compare import compare

if TYPE_CHECKING:
    from .conftest import MakeRun

BITS = {"english": 1.0, "code": 2.0}


def draws(cut_tokens: int | None) -> dict[str, Any]:
    """A draw of one source, cut or not."""
    cut = {} if cut_tokens is None else {"cut_tokens": cut_tokens}
    sums = dict.fromkeys(("bin_sha256", "idx_sha256", "provenance_sha256"), "0" * 64)
    return {"english": {"key": "d", "documents": 3, "tokens": 900, **sums, **cut}}


def test_runs_of_one_mixture_with_another_cut_are_told_apart(make_run: MakeRun) -> None:
    runs = [make_run("even", seed, BITS, draws=draws(cut)) for seed in (1, 2) for cut in (None, 800)]
    found: Any = compare(runs, None).to_json()
    (group,) = found["groups"]
    assert set(group["ranking"]["nano"]) == {"even (cut none)", "even (cut english to 800 tokens)"}


def test_a_draw_that_is_not_cut_writes_nothing_about_it(make_run: MakeRun) -> None:
    plain, cut = (make_run("even", 1, BITS, draws=draws(tokens)) for tokens in (None, 800))
    assert b"cut_tokens" not in plain.to_bytes()
    assert b'"cut_tokens": 800' in cut.to_bytes()
