"""Checks of a plan that rest on estimates.

Before a build the tokens of a source are estimated from its files' sizes, and the estimate has an error margin. A cap
that is exceeded even with the most tokens that files of this size plausibly hold is an error, as it is after a build.
A cap that is exceeded only by the estimate itself is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.mixtures.arithmetic.budget import RunBudget, budget_run
from mixproof.mixtures.arithmetic.caps import Use, check_caps, uses_of
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec
from mixproof.tokenize.estimate import Estimate


def check_estimated_caps(spec: Spec, estimates: Mapping[str, Estimate], vocab_size: int) -> None:
    """Refuse caps that are exceeded even with the most tokens that the files plausibly hold.

    Raises:
        SpecError: as after a build, with a note that the tokens are an estimate.
    """
    most = {name: found.tokens_plausible(vocab_size) for name, found in estimates.items()}
    try:
        budgets = {(m, p): budget_run(spec, m, p, most) for m in spec.mixtures for p in spec.train.proxies}
        check_caps(spec, budgets, most)
    except SpecError as error:
        error.add_note(
            "there is no build yet: the tokens of each source are an upper estimate from the sizes of its files"
        )
        raise


def uses_above_caps(
    spec: Spec, budgets: Mapping[tuple[str, str], RunBudget], tokens_of: Mapping[str, int]
) -> tuple[Use, ...]:
    """What exceeds a cap by the estimate itself, once for each mixture, run and source."""
    uses = (use for pair, budget in budgets.items() for use in uses_of(spec, *pair, budget, tokens_of))
    return tuple(dict.fromkeys(use for use in uses if use.exceeded))


def cap_warning(use: Use) -> str:
    """The warning about one cap that may be exceeded."""
    run = "the target run" if use.run == "target" else f"proxy {use.run}"
    return (
        f"{use.mixture}: {run} would see {use.source} for about {float(use.epochs):.3g} epochs, above its cap of "
        f"{float(use.max_epochs):.3g}; tokens are estimated, and a build decides"
    )
