"""Laws from synthetic runs of known constants, and the runs that make none."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mixproof.mixtures.arithmetic.repetition import effective_tokens
from mixproof.train.scaling.design import condition, count_different
from mixproof.train.scaling.fit import Points, fit, log_losses
from mixproof.train.scaling.law import Law, NoLaw, Observation, fit_law

TRUE = {"E": 1.69, "A": 406.4, "B": 410.7, "a": 0.34, "b": 0.28}
"""As Hoffmann et al. (2022) report them."""
SIZES = (2e7, 62_644_608, 1.4e8, 345_355_200)
TOKENS = (5e8, 1e9, 4e9, 1.6e10)


def loss_of(parameters: float, tokens: float) -> float:
    return float(TRUE["E"] + TRUE["A"] / parameters ** TRUE["a"] + TRUE["B"] / tokens ** TRUE["b"])


def runs(
    sizes: Sequence[float] = SIZES, tokens: Sequence[float] = TOKENS, noise: float = 0.0, seed: int = 0
) -> list[Observation]:
    draw = np.random.default_rng(seed)
    places = [(size, number) for size in sizes for number in tokens]
    return [Observation(n, d, d, loss_of(n, d) * math.exp(noise * draw.standard_normal())) for n, d in places]


def law_of(observations: Sequence[Observation]) -> Law:
    law = fit_law(observations)
    assert isinstance(law, Law), law
    return law


def reason_of(observations: Sequence[Observation]) -> str:
    found = fit_law(observations)
    assert isinstance(found, NoLaw)
    return found.reason


@pytest.fixture(scope="module")
def noisy() -> Law:
    """A law from 16 runs that scatter by 0.3%."""
    return law_of(runs(noise=0.003, seed=3))


def test_runs_without_noise_give_their_constants_back() -> None:
    law = law_of(runs())
    for name, value in TRUE.items():
        assert law.constants[name] == pytest.approx(value, rel=1e-4), name
    assert law.scatter < 1e-8
    far = law.predict(7e9, 1e12)
    assert far.loss == pytest.approx(loss_of(7e9, 1e12), rel=1e-5)
    assert far.high - far.low < 1e-4


def test_three_sizes_and_three_numbers_of_tokens_are_enough() -> None:
    law = law_of(runs(SIZES[1:], TOKENS[1:]))
    assert law.constants == pytest.approx(TRUE, rel=1e-3)


def test_intervals_hold_the_constants_of_noisy_runs(noisy: Law) -> None:
    for name, (low, high) in noisy.intervals.items():
        assert 0 <= low <= noisy.constants[name] <= high
        assert low <= TRUE[name] <= high, name
    assert noisy.scatter == pytest.approx(0.003, rel=0.5)


def test_six_runs_that_follow_no_law_have_finite_bounds() -> None:
    pairs = [(5e3, 512), (5e3, 1024), (5e3, 2048), (9e3, 512), (9e3, 1024), (2e4, 2048)]
    losses = (3.69, 3.85, 4.09, 4.04, 4.02, 3.78)
    law = law_of([Observation(n, d, d, loss) for (n, d), loss in zip(pairs, losses, strict=True)])
    assert max(high for _, high in law.intervals.values()) == pytest.approx(sys.float_info.max)
    assert "Infinity" not in json.dumps(law.to_json([(1e5, 2e4)]))


def test_an_extrapolation_is_less_sure_than_what_was_seen(noisy: Law) -> None:
    inside, near, far = noisy.predict(1e8, 2e9), noisy.predict(1e9, 4e10), noisy.predict(7e9, 1e12)
    widths = [place.high - place.low for place in (inside, near, far)]
    assert widths[0] < widths[1] < widths[2]
    for place in (inside, near, far):
        assert place.low <= loss_of(place.parameters, place.tokens) <= place.high
    assert inside.times_beyond == 1
    assert near.times_beyond == pytest.approx(1e9 / SIZES[-1])
    assert far.times_beyond == pytest.approx(1e12 / TOKENS[-1])
    assert noisy.predict(1e8, 2.5e8).times_beyond == 2


def test_one_run_gone_wrong_does_not_move_the_law() -> None:
    observations = runs()
    observations[5] = replace(observations[5], loss=observations[5].loss * 1.2)
    law = law_of(observations)
    assert law.constants == pytest.approx(TRUE, rel=0.05)
    assert law.residuals[5] == pytest.approx(math.log(1.2), rel=0.01)
    assert max(abs(residual) for place, residual in enumerate(law.residuals) if place != 5) < 1e-3
    assert law.predict(1e8, 2e9).loss == pytest.approx(loss_of(1e8, 2e9), rel=1e-3)


def test_residuals_are_measured_over_predicted(noisy: Law) -> None:
    for seen, residual in zip(noisy.observations, noisy.residuals, strict=True):
        predicted = noisy.predict(seen.parameters, seen.tokens).loss
        assert residual == pytest.approx(math.log(seen.loss / predicted), abs=1e-12)


def test_the_same_runs_give_the_same_law(noisy: Law) -> None:
    again = law_of(runs(noise=0.003, seed=3))
    assert json.dumps(again.to_json([(1e9, 1e10)])) == json.dumps(noisy.to_json([(1e9, 1e10)]))


def test_the_json_form_holds_everything_that_a_page_draws(noisy: Law) -> None:
    form = json.loads(json.dumps(noisy.to_json([(7e9, 1e12)])))
    assert set(form["constants"]) == set(form["intervals"]) == set(TRUE)
    assert len(form["observations"]) == 16
    assert form["observations"][0].keys() == {
        "parameters", "tokens", "unique_tokens", "loss", "effective_tokens", "residual",
    }  # fmt: skip
    assert form["predictions"][0]["low"] < form["predictions"][0]["loss"] < form["predictions"][0]["high"]
    assert (form["confidence"], form["most_epochs"], form["left_out"]) == (0.95, 1.0, [])


def test_repeated_tokens_enter_as_what_they_are_worth() -> None:
    observations = [
        Observation(n, d, d / 4, loss_of(n, effective_tokens(d / 4, 4))) if place % 2 else Observation(n, d, d, loss)
        for place, (n, d, loss) in enumerate((run.parameters, run.tokens, run.loss) for run in runs())
    ]
    assert law_of(observations).constants == pytest.approx(TRUE, rel=1e-3)


def test_runs_that_repeat_too_often_are_left_out_and_counted() -> None:
    often = Observation(1e9, 1e10, 1e9, 9.0)
    law = law_of([*runs(), often])
    assert law.left_out == (often,) and len(law.observations) == 16
    assert law.constants == pytest.approx(TRUE, rel=1e-3)
    every = [replace(run, unique_tokens=run.tokens / 10) for run in runs()]
    assert reason_of(every).endswith("(16 runs above 4.5 epochs left out)")


def test_two_proxies_make_no_law() -> None:
    assert reason_of(runs(SIZES[:2])) == (
        "a scaling law needs runs at 3 or more different model sizes, because it has a floor, a scale and an exponent "
        "to fit; these runs have 2"
    )
    assert reason_of(runs(SIZES[:1])).endswith("; these runs have 1")
    assert reason_of([]) == "a scaling law needs runs; there are none"
    assert NoLaw("why").to_json() == {"law": None, "reason": "why"}


def test_two_numbers_of_tokens_make_no_law() -> None:
    assert reason_of(runs(tokens=TOKENS[:2])).startswith("a scaling law needs runs at 3 or more different token counts")
    # whole steps and another vocabulary make numbers that differ and mean the same
    assert reason_of(runs(tokens=(1e9, 1.0003e9, 4e9))).startswith(
        "a scaling law needs runs at 3 or more different token"
    )


def test_sizes_that_hardly_differ_make_no_law() -> None:
    assert "differ by a factor of 1.80 at most" in reason_of(runs((1e8, 1.3e8, 1.8e8)))


def test_too_few_combinations_make_no_law() -> None:
    corner = [run for run in runs(SIZES[:3], TOKENS[:3]) if run.parameters == SIZES[0] or run.tokens == TOKENS[0]]
    assert "model size and token count; these runs have 5" in reason_of([*corner, *corner])


def test_tokens_in_one_proportion_to_parameters_make_no_law() -> None:
    sizes = np.geomspace(2e7, 8e9, 8).tolist()
    tied = [Observation(n, 20 * n, 20 * n, loss_of(n, 20 * n)) for n in sizes]
    assert "grow together" in reason_of(tied)
    assert isinstance(fit_law([*tied, *runs(sizes[:1], TOKENS)]), Law)


def test_an_observation_that_is_no_number_is_named() -> None:
    observations = runs()
    observations[3] = replace(observations[3], loss=math.nan)
    assert reason_of(observations).startswith("observation 3 has a value that is not positive and finite")
    with pytest.raises(ValueError, match="must be positive"):
        law_of(runs()).predict(0, 1e9)


def test_numbers_within_a_tenth_count_as_one() -> None:
    assert count_different([100, 109, 111, 200]) == 3
    assert count_different([100, 110, 121]) == 2
    assert count_different([]) == 0


def test_a_grid_tells_the_constants_apart_and_a_line_does_not() -> None:
    grid = [(size, tokens) for size in SIZES for tokens in TOKENS]
    assert condition(*zip(*grid, strict=True)) < 100
    assert condition(SIZES, [20 * size for size in SIZES]) > 1e8


def test_the_fit_is_no_worse_than_the_truth_on_any_noise() -> None:
    observations = runs(noise=0.01, seed=8)
    points = Points(np.log([run.parameters for run in observations]), np.log([run.tokens for run in observations]))
    measured = np.log([run.loss for run in observations])
    truth = np.array([*np.log([TRUE["E"], TRUE["A"], TRUE["B"]]), TRUE["a"], TRUE["b"]])
    fitted, true = (np.abs(measured - log_losses(c, points)).sum() for c in (fit(points, measured), truth))
    assert fitted <= true
