"""Rules of the block `search`: what it fixes, the trunk of a search for the decay, and the race of its candidates."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from .blocks.search import Search
from .key_positions import Problem, nearest
from .spec import Spec
from .values.quantities import percent_string

HALF = Fraction(1, 2)


def search_problems(spec: Spec) -> Iterator[Problem]:
    """Return what is wrong with the search of a spec."""
    search = spec.search
    if search is None:
        return
    if search.proxy is not None and search.proxy not in spec.train.proxies:
        yield Problem(
            ("search", "proxy"), f"there is no proxy {search.proxy!r}; {nearest(search.proxy, spec.train.proxies)}"
        )
    yield from _fixed(spec, search)
    yield from _trunk(spec, search)
    yield from race_problems(spec, search)


def race_problems(spec: Spec, search: Search) -> Iterator[Problem]:
    """Return what prevents the candidates of a search from racing."""
    race, path = search.race, ("search", "race")
    if race is None:
        return
    if list(race.rungs) != sorted(set(race.rungs)) or not 0 < race.rungs[0] <= race.rungs[-1] < 1:
        given = ", ".join(map(percent_string, race.rungs))
        yield Problem((*path, "rungs"), f"{given}: give ascending shares of the tokens above 0% and below 100%")
    if not HALF <= race.confidence < 1:
        message = f"{percent_string(race.confidence)}: give a share from 50% to below 100%, such as 95%"
        yield Problem((*path, "confidence"), message)
    if search.phase is not None:
        yield Problem(path, "cannot be combined with `phase: decay`, whose candidates share their trunk; remove one")
    if search.repeats < 2:
        yield Problem(path, "needs `repeats` of at least 2: without repeats the noise at a rung is unknown")
    if spec.train.stage != "pretrain":
        yield Problem(path, "only runs of stage pretrain have trunks; remove `race`")
    if not spec.train.schedule.wsd.decay:
        yield Problem(path, "needs a decay: set `train.schedule.wsd.decay` above 0")
    if spec.target is not None and spec.target.simulate:
        yield Problem(path, "`target.simulate` cuts every length of run differently; remove it, or `race`")


def _fixed(spec: Spec, search: Search) -> Iterator[Problem]:
    """Check that fixed shares leave at least two things to vary."""
    path = ("search", "fixed")
    total = sum((part.share for part in search.fixed.values() if part.share is not None), Fraction(0))
    if total >= 1:
        message = f"the fixed shares sum to {percent_string(total)}, which leaves nothing to search; lower one"
        yield Problem(path, message)
        return
    named = {source for part in search.fixed.values() for source in part.of}
    free = [name for name, part in search.fixed.items() if part.share is None]
    free += [name for name in spec.sources if name not in named]
    if search.fixed and len(free) < 2 and not any(source.split_by for source in spec.sources.values()):
        what = f"only {free[0]!r}" if free else "nothing"
        yield Problem(path, f"leaves {what} to vary, and a search needs at least two sources or groups; fix fewer")


def _trunk(spec: Spec, search: Search) -> Iterator[Problem]:
    if search.phase is None:
        if search.trunk is not None:
            yield Problem(("search", "trunk"), "applies only to `phase: decay`; add it, or remove the trunk")
        return
    name = search.trunk or next(iter(spec.mixtures))
    if name not in spec.mixtures:
        yield Problem(("search", "trunk"), f"there is no mixture {name!r}; {nearest(name, spec.mixtures)}")
    elif spec.mixtures[name].phases:
        message = f"the trunk {name!r} has phases; name a mixture with shares or a rule"
        yield Problem(("search", "trunk" if search.trunk is not None else "phase"), message)
    if spec.train.stage != "pretrain":
        yield Problem(("search", "phase"), "only runs of stage pretrain have a trunk; remove `phase`")
    wsd = spec.train.schedule.wsd
    if not 0 < wsd.decay < 1 - wsd.warmup:
        yield Problem(
            ("search", "phase"),
            f"needs a stable phase and a decay, but `train.schedule.wsd` has a warm-up of {percent_string(wsd.warmup)} "
            f"and a decay of {percent_string(wsd.decay)}",
        )
