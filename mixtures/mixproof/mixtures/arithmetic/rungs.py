"""The runs of a race: the same mixtures with budgets in rungs, as branches of one trunk.

With a decay of 20%, rungs at 10% and 20% and the full budget, a mixture has these runs:

  rung 1      trunk to 8%, decay to 10%
  rung 2      trunk to 8%, on to 16%, decay to 20%
  full        trunk to 8%, to 16%, on to 80%, decay to 100%

Runs with the same first phases share them (`mixproof.train.loop.trunk`), so a rung branches from the trunk of the rung
before, and only a mixture's decays are trained besides its full run. All phases have the mixture's shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from mixproof.mixtures.blocks.mixture import Mixture, Phase
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import Problem
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import percent_string

from .budget import budget_run, supply_of
from .rounding import ceil
from .shares import resolve_mixture


def check_race(spec: Spec) -> str:
    """Check that the mixtures of a spec can race, and return the proxy that they race with.

    Raises:
        SpecError: naming the keys that prevent it.
    """
    problems = []
    if len(spec.train.proxies) != 1:
        problems.append(Problem(("train", "proxies"), "a race needs exactly one proxy"))
    if len(spec.train.seeds) < 2:
        problems.append(Problem(("train", "seeds"), "a race needs at least two seeds, or nothing can be stopped"))
    if spec.train.stage != "pretrain":
        problems.append(Problem(("train", "stage"), "only `pretrain` can race: other stages have no trunks"))
    if not spec.train.schedule.wsd.decay:
        problems.append(Problem(("train", "schedule", "wsd", "decay"), "a race needs a decay above 0"))
    if spec.target is not None and spec.target.simulate:
        problems.append(Problem(("target", "simulate"), "a simulated target cuts every length of run differently"))
    if len(spec.mixtures) < 2:
        problems.append(Problem(("mixtures",), "a race needs at least two mixtures"))
    problems += [
        Problem(("mixtures", name, "phases"), "a race needs mixtures without phases")
        for name, mixture in spec.mixtures.items()
        if mixture.phases
    ]
    if problems:
        raise spec.positions.error(problems)
    return next(iter(spec.train.proxies))


def check_rungs(spec: Spec, tokens_of: Mapping[str, int], parts: Sequence[Fraction]) -> None:
    """Check that every phase of the first rung has a step and a sample of each source.

    Args:
        spec: of the whole race.
        tokens_of: at most this many training tokens of every source.
        parts: of the full budget, at the rungs.

    Raises:
        SpecError: naming the mixture and what to change. Mixtures with a rule are checked after the build.
    """
    written = [name for name, mixture in spec.mixtures.items() if mixture.rule is None]
    if not written:
        return
    first = rung_spec(spec, tokens_of, parts[:1], written)
    for name in written:
        try:
            budget_run(first, name, next(iter(spec.train.proxies)), tokens_of)
        except SpecError as error:
            part = percent_string(parts[0])
            raise SpecError(f"{error} (at the first rung of the race, {part} of the tokens)") from None


def tokens_to_read(spec: Spec, tokens_of: Mapping[str, int], parts: Sequence[Fraction]) -> dict[str, int]:
    """Tokens that the full run which reads most of a source reads in one pass, by source.

    Draws of all rungs have this size, so that all runs of a race read the same streams. Every phase of a run rounds its
    samples, so a run with rungs may read more of a source than one without.

    Args:
        spec: of the whole race.
        tokens_of: training tokens of every source.
        parts: of the full budget, at the rungs.
    """
    proxy, most = next(iter(spec.train.proxies)), dict[str, int]()
    for form in (spec, rung_spec(spec, tokens_of, (*parts, Fraction(1)), list(spec.mixtures))):
        for mixture in form.mixtures:
            budget = budget_run(form, mixture, proxy, tokens_of)
            for source, samples in budget.samples_of.items():
                most[source] = max(most.get(source, 0), samples * budget.sequence_length + 1)
    return most


def rung_spec(spec: Spec, tokens_of: Mapping[str, int], parts: Sequence[Fraction], left: Sequence[str]) -> Spec:
    """Return the spec of the runs of one rung.

    Args:
        spec: of the whole race.
        tokens_of: training tokens of every source.
        parts: of the full budget, at the rungs up to this one; 1 for the full budget.
        left: mixtures that still race.

    Raises:
        SpecError: when a rule cannot be resolved.
    """
    proxy = next(iter(spec.train.proxies))
    samples = budget_run(spec, left[0], proxy, tokens_of).samples
    decay = spec.train.schedule.wsd.decay
    mixtures = {}
    for name in left:
        [whole] = resolve_mixture(spec, name, supply_of(spec, samples, tokens_of))
        mixtures[name] = rung_mixture(whole.shares, parts, decay)
    return spec.model_copy(update={"mixtures": mixtures})


def rung_mixture(shares: Mapping[str, Fraction], parts: Sequence[Fraction], decay: Fraction) -> Mixture:
    """Return a mixture as a run to the last of some parts: a trunk in pieces that end where rungs branch, and a decay.

    Args:
        shares: positive shares of the sources, in all phases.
        parts: of the full budget, at the rungs up to this one; 1 for the full budget.
        decay: share of each rung's tokens that is its decay.
    """
    trunk = [Phase(until=part * (1 - decay), shares=dict(shares)) for part in parts]
    return Mixture(phases=(*trunk, Phase(until=parts[-1], shares=dict(shares), decay=True)))


def phase_ends(parts: Sequence[Fraction], decay: Fraction, steps: int) -> list[int]:
    """The steps at which the phases of a run to the last of some parts end; arguments as for `rung_mixture`.

    Args:
        parts: see there.
        decay: see there.
        steps: of the full budget.
    """
    return [ceil(part * (1 - decay) * steps) for part in parts] + [ceil(parts[-1] * steps)]


def trained_tokens(phases: Sequence[int], sequence_length: int) -> int:
    """Tokens that a run of a rung trains itself, beyond the trunk of the rung before.

    Args:
        phases: samples of its phases.
        sequence_length: tokens of a sample.
    """
    return sum(phases[-2:]) * sequence_length
