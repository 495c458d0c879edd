"""The search space of a spec: the mixtures that its sources, target and caps allow, and the runs of its candidates.

The center is the proportional mixture. A source's largest share is what its cap allows in the target run (tokens
times epochs, divided by target tokens) or, without a target, what a proxy run can use in whole training windows. In a
search for the decay, a source can have what the trunk leaves of that, because caps count over the whole run. The
smallest positive share gives the searched phase at least one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from mixproof.mixtures.arithmetic.budget import budget_run, supply_of, windows
from mixproof.mixtures.arithmetic.rungs import phase_ends
from mixproof.mixtures.arithmetic.shares import Supply, resolve_mixture
from mixproof.mixtures.blocks.mixture import Mixture, Phase
from mixproof.mixtures.blocks.search import Search
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.pins import Pins
from mixproof.mixtures.search.space import LEAST_SHARE, Space, rounded_center
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import percent_string

from .candidate_runs import CandidateRuns, Trunk
from .declared_pins import pins_of

Shares = Mapping[str, Fraction]


def runs_of(spec: Spec, proxy: str, tokens_of: Mapping[str, int], declared: Search | None = None) -> CandidateRuns:
    """Build the space of the candidates of a proxy, and what their runs have in common.

    Args:
        spec: a checked spec, with the parts of split sources.
        proxy: name of the proxy that measures the candidates.
        tokens_of: training tokens of every source, including EODs.
        declared: the block `search`, for what is fixed and which phase is searched.

    Raises:
        SpecError: when all sources together cannot fill a mixture within their caps, or a fixed share or the trunk
            exceeds one.
    """
    declared = declared or Search()
    recipe, length = spec.train.proxies[proxy], spec.train.sequence_length
    samples = -(-recipe.tokens // (length * recipe.global_batch_size)) * recipe.global_batch_size
    supply = supply_of(spec, samples, tokens_of)
    trunk = None if declared.phase is None else _trunk(spec, proxy, tokens_of, declared, supply)
    if trunk is not None:
        samples -= sum(trunk.samples_of.values())
    most = {
        name: _largest_share(spec, name, supply, trunk) if windows(tokens, length) else Fraction(0)
        for name, tokens in sorted(tokens_of.items())
    }
    pins = pins_of(spec, declared.fixed, tokens_of)
    race = () if declared.race is None else declared.race.rungs
    smallest = smallest_phase(spec, proxy, race) if race else samples
    space = _space(spec, tokens_of, most, Fraction(1, smallest), pins)
    if trunk is not None:
        space = replace(space, anchor_shares=_searched(space, trunk.shares))
    return CandidateRuns(space, length, samples, trunk, race, spec.train.schedule.wsd.decay)


def smallest_phase(spec: Spec, proxy: str, rungs: tuple[Fraction, ...]) -> int:
    """Samples of the shortest phase of all runs of a race, in which every source needs one.

    Raises:
        SpecError: when a phase has no step.
    """
    recipe = spec.train.proxies[proxy]
    steps = -(-recipe.tokens // (spec.train.sequence_length * recipe.global_batch_size))
    parts, shortest = (*rungs, Fraction(1)), steps
    for number, part in enumerate(parts, start=1):
        ends = [0, *phase_ends(parts[:number], spec.train.schedule.wsd.decay, steps)]
        shortest = min(shortest, *(after - before for before, after in pairwise(ends)))
        if shortest < 1:
            raise SpecError(
                f"{spec.where('search', 'race', 'rungs')}: at proxy {proxy} the run to {percent_string(part)} has a "
                f"phase without a step ({steps} steps in all); use fewer or later rungs, or train on more tokens"
            )
    return shortest * recipe.global_batch_size


def _space(spec: Spec, tokens_of: Mapping[str, int], most: Shares, sample: Fraction, pins: Pins | None) -> Space:
    if pins is None:
        return Space.of(rounded_center(dict(sorted(tokens_of.items()))), most, max(LEAST_SHARE, sample))
    _check_fixed(spec, pins, most, sample)
    tokens = pins.summed({name: Fraction(count) for name, count in tokens_of.items()})
    center = rounded_center({part: int(count) for part, count in tokens.items()})
    return Space.of(center, pins.largest(most), pins.smallest(LEAST_SHARE, sample), pins)


def _check_fixed(spec: Spec, pins: Pins, most: Shares, sample: Fraction) -> None:
    """Refuse fixed shares that the supply does not allow, or that get no sample."""
    for name, share in pins.fixed.items():
        where = spec.where("search", "fixed", name)
        if share > most[name]:
            raise SpecError(
                f"{where}: {name} is fixed at {percent_string(share)}, but supply and caps allow at most "
                f"{percent_string(max(most[name], Fraction(0)))}; lower it, raise `target.max_epochs`, or add text"
            )
        if 0 < share < sample:
            raise SpecError(
                f"{where}: {name} is fixed at {percent_string(share)}, which is less than one sample of the run; fix "
                f"it at {percent_string(sample)} or more, or at 0%"
            )


def _searched(space: Space, shares: Shares) -> tuple[Fraction, ...]:
    """Shares of sources as weights of what the space searches; equal ones if none of it has a share."""
    weights = dict(shares) if space.pins is None else space.pins.summed(shares)
    found = tuple(weights.get(name, Fraction(0)) for name in space.sources)
    return found if any(found) else tuple(Fraction(1) for _ in space.sources)


def _trunk(spec: Spec, proxy: str, tokens_of: Mapping[str, int], declared: Search, supply: Supply) -> Trunk:
    """The stable phase that all candidates share."""
    name = declared.trunk or next(iter(spec.mixtures))
    until = 1 - spec.train.schedule.wsd.decay
    given = spec.mixtures[name].model_dump(include={"shares", "rule", "times", "temperature"})
    phases = (Phase(until=until, **given), Phase(until=Fraction(1), decay=True, **given))
    branch = spec.model_copy(update={"mixtures": {name: Mixture(phases=phases)}})
    budget = budget_run(branch, name, proxy, tokens_of)
    shares = resolve_mixture(branch, name, supply)[0].shares
    return Trunk(name, phases[0], shares, budget.phases[0].samples_of)


def _largest_share(spec: Spec, source: str, supply: Supply, trunk: Trunk | None) -> Fraction:
    """The largest share of a source in the searched phase, so that the whole run stays within its cap."""
    capacity = supply.capacity_of[source]
    if trunk is None:
        return Fraction(capacity, supply.total)
    if spec.target is not None:
        used, left = trunk.until * trunk.shares.get(source, 0) * supply.total, (1 - trunk.until) * supply.total
    else:
        used = Fraction(trunk.samples_of.get(source, 0))
        left = Fraction(supply.total - sum(trunk.samples_of.values()))
    if used > capacity:
        where = spec.where("search", "trunk") if spec.search is not None else "search.trunk"
        raise SpecError(
            f"{where}: the trunk alone uses {float(used / capacity):.3g} times what {source} supplies within its cap; "
            "choose another trunk, raise `target.max_epochs`, or add text"
            if capacity
            else f"{where}: the trunk uses {source}, which supplies nothing within its cap"
        )
    return (capacity - used) / left
