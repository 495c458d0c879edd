"""Caps on repetition: how many epochs each source is seen, and whether its cap allows that.

Caps refer to the target run if the spec has one, else to each proxy run. In the target run a source's epochs are its
share of the target's tokens divided by its training tokens; in a proxy run they are its samples divided by the
windows of one pass. `simulated_tokens` gives the number of unique tokens to which a source is cut so that a proxy
repeats it as often as the target would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import percent_string

from .budget import RunBudget, budget_run, windows, windows_of_pass
from .rounding import ceil


@dataclass(frozen=True)
class Use:
    """How much of one source one run uses."""

    mixture: str
    run: str
    """`target`, or the proxy's name."""
    source: str
    share: Fraction
    """Declared share of the run."""
    need_tokens: int
    unique_tokens: int
    """Tokens of one epoch."""
    epochs: Fraction
    """2 means seen twice."""
    max_epochs: Fraction

    @property
    def exceeded(self) -> bool:
        """Whether the source is seen for more epochs than its cap allows."""
        return self.epochs > self.max_epochs

    @property
    def supply_tokens(self) -> int:
        """Tokens that the source can supply within its cap."""
        return int(self.unique_tokens * self.max_epochs)


def uses_of(spec: Spec, mixture: str, proxy: str, budget: RunBudget, tokens_of: Mapping[str, int]) -> tuple[Use, ...]:
    """What the run to which caps refer uses of each source of a mixture, sorted by name."""
    uses = []
    for name, need in budget.tokens_of.items():
        share, cap = budget.declared[name], spec.max_epochs(name)
        if spec.target is not None:
            exact, unique = share * spec.target.tokens, tokens_of[name]
            use = Use(mixture, "target", name, share, ceil(exact), unique, exact / unique, cap)
        else:
            unique = windows_of_pass(spec, tokens_of[name]) * budget.sequence_length
            epochs = passes_over(spec, budget, name, tokens_of[name])
            use = Use(mixture, proxy, name, share, need, unique, epochs, cap)
        uses.append(use)
    return tuple(uses)


def passes_over(spec: Spec, budget: RunBudget, source: str, tokens: int) -> Fraction:
    """Passes of a run over a source of `tokens`: in each phase, its samples over those of a pass at its length."""
    passes = Fraction(0)
    for phase in budget.phases:
        if samples := phase.samples_of.get(source, 0):
            passes += Fraction(samples, windows_of_pass(spec, tokens, budget.length_of(phase)))
    return passes


def check_caps(spec: Spec, budgets: Mapping[tuple[str, str], RunBudget], tokens_of: Mapping[str, int]) -> None:
    """Reject budgets that exceed a source's cap.

    After pretraining the epochs of a run are known only when its windows are chosen, so they are checked there.

    Args:
        spec: a checked spec.
        budgets: by (mixture, proxy).
        tokens_of: training tokens of every source.

    Raises:
        SpecError: naming, for every exceeded cap, need, supply, epochs and what to change.

    """
    if spec.train.stage != "pretrain" and spec.target is None:
        return
    lines: dict[str, None] = {}  # with a target, all proxies of a mixture give the same line
    for (mixture, proxy), budget in budgets.items():
        for use in uses_of(spec, mixture, proxy, budget, tokens_of):
            if use.exceeded:
                lines[_describe(spec, use, budget)] = None
    if lines:
        raise SpecError("\n".join(lines))


def check_largest_supply(spec: Spec, most_tokens_of: Mapping[str, int]) -> None:
    """Reject, before anything is built, budgets that the sources cannot supply with any tokenizer.

    Mixtures with written shares are checked source by source. A rule's shares need the real token counts, so
    for them only the total is checked: the whole run against all sources up to their caps.

    Args:
        spec: a checked spec.
        most_tokens_of: an upper bound on every source's tokens, such as its bytes (a token has at least one byte).

    Raises:
        SpecError: as `check_caps` and `budget_run`.

    """
    budgets = {}
    for mixture, declared in spec.mixtures.items():
        by_rule = declared.rule is not None or any(phase.rule is not None for phase in declared.phases)
        for proxy, recipe in spec.train.proxies.items():
            if not by_rule:
                budgets[mixture, proxy] = budget_run(spec, mixture, proxy, most_tokens_of)
                continue
            need = spec.target.tokens if spec.target is not None else recipe.tokens
            supply = sum(int(spec.max_epochs(name) * most) for name, most in most_tokens_of.items())
            if supply < need:
                raise SpecError(
                    f"{spec.where('mixtures', mixture)}: the run needs {need:,} tokens, but all sources up to their "
                    f"epoch caps supply at most {supply:,}; request fewer tokens, raise the caps, or add text"
                )
    check_caps(spec, budgets, most_tokens_of)


def cuts_of(spec: Spec, budget: RunBudget, tokens_of: Mapping[str, int]) -> dict[str, int]:
    """Unique tokens to which the sources of a run are cut; empty unless the spec simulates its target.

    Raises:
        SpecError: as `simulated_tokens`.

    """
    simulates = spec.target is not None and spec.target.simulate
    return simulated_tokens(spec, budget, tokens_of) if simulates else {}


def simulated_tokens(spec: Spec, budget: RunBudget, tokens_of: Mapping[str, int]) -> dict[str, int]:
    """Unique tokens to which each source is cut so that the proxy repeats it as often as the target would.

    A source has the same share in the proxy run and in the target run, so every source is cut to the same fraction,
    whatever the mixture, and all mixtures of a proxy read the same draws. Epochs differ from the target's only by
    rounding to whole samples and documents.

    Raises:
        SpecError: when a source would be too small for one window.

    """
    if spec.target is None:
        return {name: tokens_of[name] for name in budget.samples_of}
    cut = {}
    part = Fraction(budget.tokens_planned, spec.target.tokens)
    for name in budget.samples_of:
        cut[name] = min(tokens_of[name], ceil(tokens_of[name] * part))
        if windows(cut[name], budget.sequence_length) == 0:
            raise SpecError(
                f"{spec.where('target', 'simulate')}: source {name} would be cut to {cut[name]:,} tokens, but one "
                f"sample needs {budget.sequence_length + 1:,}; give the proxy more tokens, or simulate a smaller target"
            )
    return cut


def _describe(spec: Spec, use: Use, budget: RunBudget) -> str:
    """Describe an exceeded cap: need, supply, epochs and what to change."""
    if spec.target is not None:
        run, total, whole_steps, tokens_key = "the target run", spec.target.tokens, 1, "target.tokens"
        cap = f"raise target.max_epochs.{use.source}"
    else:
        run, total, tokens_key = f"the run at proxy {use.run}", budget.tokens_planned, f"train.proxies.{use.run}.tokens"
        whole_steps = budget.global_batch_size * budget.sequence_length
        cap = f"set a higher cap (target: {{tokens: ..., max_epochs: {{{use.source}: ...}}}})"
    fitting_tokens = int(use.supply_tokens / use.share) // whole_steps * whole_steps
    fitting_share = int(Fraction(use.supply_tokens, total) * 10**5) / 10**3
    return (
        f"{spec.where('mixtures', use.mixture, use.source)}: {run} needs {use.need_tokens:,} tokens of {use.source} "
        f"({percent_string(use.share)} of {total:,}), {float(use.epochs):.4g} epochs of {use.unique_tokens:,}, but "
        f"its cap of {float(use.max_epochs):.4g} epochs supplies {use.supply_tokens:,}; lower its share to "
        f"{fitting_share:g}%, or {tokens_key} to {fitting_tokens}, {cap}, or add text"
    )
