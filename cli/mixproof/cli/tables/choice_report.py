"""The final choice of a search: finalists, recommendation and region, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from mixproof.cli.output import percent, stdout, table
from mixproof.mixtures.search.choice.final_choice import FinalChoice
from mixproof.mixtures.search.choice.finalists import Finalist
from mixproof.mixtures.search.choice.region import Ranges
from mixproof.mixtures.search.outcome import Outcome
from mixproof.mixtures.search.phases.phased_space import PhasedSpace
from mixproof.mixtures.search.space import Space


def choice_json(choice: FinalChoice | None, index: Sequence[str]) -> dict[str, object]:
    """The JSON form of a final choice from tables; `index` names the rows that were run."""
    if choice is None:
        return {"recommendation": None, "finalists": [], "region": None}
    return {
        "recommendation": {
            **_mixture_json(choice, choice.recommended),
            "gain_over_anchor": None if choice.gain is None else asdict(choice.gain),
            "better_than_anchor": choice.better_than_anchor,
            "margin": choice.margin,
        },
        "finalists": [
            {**_finalist_json(choice, one), "index": None if one.row is None else index[one.row]}
            for one in choice.finalists
        ],
        "region": _ranges_json(choice.space, choice.region()),
    }


def confirmed_json(outcome: Outcome) -> dict[str, object]:
    """The JSON form of the finalists of a search that trained them."""
    choice = outcome.choice
    if choice is None:
        return {"recommendation": None, "finalists": [], "region": None}
    best = outcome.confirmations[0].finalist
    return {
        "recommendation": _mixture_json(choice, best),
        "finalists": [
            {**_finalist_json(choice, one.finalist), "scores": list(one.scores)} for one in outcome.confirmations
        ],
        "region": _ranges_json(choice.space, choice.region(best)),
    }


def print_choice(choice: FinalChoice, index: Sequence[str]) -> None:
    """Print a final choice from tables."""
    _print_mixture(choice, choice.recommended, choice.region())
    rows = [
        (
            one.kind,
            "" if one.row is None else index[one.row],
            f"{one.predicted:.4f}",
            "" if one.measured is None else f"{one.measured:.4f}",
            *_estimated(one),
        )
        for one in choice.finalists
    ]
    columns = ("finalist", "index", "predicted", "measured", "estimate", "95% interval")
    stdout.print(table("Finalists, the recommended one first", columns, rows, text_columns=2))
    optimum = next((one for one in choice.finalists if one.kind == "optimum"), None)
    if optimum is not None and optimum is not choice.recommended:
        stdout.print(
            f"The predicted optimum was not run, and its estimate is less than the margin of {choice.margin:.4g} below "
            "that of the best measured mixture, so the measured mixture is recommended. Train both to decide.",
            soft_wrap=True,
        )
    stdout.print(_anchor_sentence(choice), soft_wrap=True)


def print_confirmed(outcome: Outcome) -> None:
    """Print the finalists of a search that trained them."""
    choice = outcome.choice
    assert choice is not None, "only finalists are confirmed"
    best = outcome.confirmations[0].finalist
    _print_mixture(choice, best, choice.region(best))
    rows = [
        (
            one.finalist.kind,
            f"{one.mean:.4f}" if one.scores else "failed",
            str(len(one.scores)),
            f"{one.finalist.predicted:.4f}",
            *_estimated(one.finalist),
        )
        for one in outcome.confirmations
    ]
    columns = ("finalist", "measured with fresh seeds", "seeds", "predicted", "estimate before", "95% interval")
    stdout.print(table("Finalists, best first", columns, rows))


def _mixture_json(choice: FinalChoice, finalist: Finalist) -> dict[str, object]:
    return {
        **_finalist_json(choice, finalist),
        "share_ranges": _ranges_json(choice.space, choice.optimum_ranges),
    }


def _finalist_json(choice: FinalChoice, finalist: Finalist) -> dict[str, object]:
    return {
        "kind": finalist.kind,
        **_shares_json(choice.space, choice.mixture(finalist)),
        "predicted": finalist.predicted,
        "measured": finalist.measured,
        "runs": finalist.runs,
        "estimate": finalist.estimate.value,
        "interval": list(finalist.estimate.interval),
    }


def _shares_json(space: Space, shares: Mapping[str, float]) -> dict[str, object]:
    """Positive shares; with phases, those of each phase and those of the whole run."""
    if not isinstance(space, PhasedSpace):
        return {"mixture": {name: share for name, share in shares.items() if share}}
    by_phase = space.by_phase({name: share for name, share in shares.items() if share})
    return {"mixture": by_phase, "whole_run": {name: share for name, share in space.whole_run(shares).items() if share}}


def _ranges_json(space: Space, ranges: Ranges) -> Mapping[str, object]:
    listed = {name: list(ends) for name, ends in ranges.items()}
    return space.by_phase(listed) if isinstance(space, PhasedSpace) else listed


def _estimated(finalist: Finalist) -> tuple[str, str]:
    low, high = finalist.estimate.interval
    return f"{finalist.estimate.value:.4f}", f"{low:.4f} to {high:.4f}"


def _print_mixture(choice: FinalChoice, finalist: Finalist, region: Ranges) -> None:
    what = {"optimum": "the predicted optimum", "measured": "a measured mixture", "anchor": "the anchor"}[finalist.kind]
    title, as_good = f"Best mixture: {what}", "as good within the noise"
    shares, space = choice.mixture(finalist), choice.space
    ranges = {name: f"{percent(region[name][0])} to {percent(region[name][1])}" for name in shares}
    if not isinstance(space, PhasedSpace):
        rows = [(name, percent(share), ranges[name]) for name, share in shares.items()]
        stdout.print(table(title, ("source", "share", as_good), rows))
        return
    phased = [
        (phase, source, percent(share), own[source])
        for (phase, of), own in zip(space.by_phase(shares).items(), space.by_phase(ranges).values(), strict=True)
        for source, share in of.items()
    ]
    whole = [("whole run", source, percent(share), "") for source, share in space.whole_run(shares).items()]
    stdout.print(table(title, ("phase", "source", "share", as_good), [*phased, *whole], text_columns=2))


def _anchor_sentence(choice: FinalChoice) -> str:
    if choice.gain is None:
        return "The recommended mixture is the anchor."
    interval = f"{choice.gain.mean:.4f} lower, 95% interval {choice.gain.low:.4f} to {choice.gain.high:.4f}"
    if choice.better_than_anchor:
        return f"It is better than the anchor: its score is {interval}."
    return f"It is not measurably better than the anchor: its score is {interval}."
