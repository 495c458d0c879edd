"""Rules of phases: their order, and their own sequence lengths, rotary bases and documents."""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm

from .blocks.mixture import Mixture, Phase
from .key_positions import KeyPath, Problem
from .spec import Spec
from .values.quantities import percent_string

MAX_UNTIL = 10
"""Largest end of a branch, as a multiple of the proxy's tokens: catches 80 when 80% is meant."""
OWN_KEYS = ("sequence_length", "min_tokens")
"""Keys that give a phase samples or documents of its own."""


def phase_problems(spec: Spec) -> Iterator[Problem]:
    """Return all violations of the rules of phases."""
    for name, mixture in spec.mixtures.items():
        path: KeyPath = ("mixtures", name)
        if mixture.phases:
            yield from _order(mixture, path)
        for index, phase in enumerate(mixture.phases):
            yield from _own_settings(spec, phase, (*path, "phases", index))
            yield from _batches(spec, phase, (*path, "phases", index))


def _order(mixture: Mixture, path: KeyPath) -> Iterator[Problem]:
    end = mixture.phases[0].until * 0
    for index, phase in enumerate(mixture.phases):
        if phase.until <= end:
            message = f"{percent_string(phase.until)} is not after {percent_string(end)}, where the phase starts"
            yield Problem((*path, "phases", index, "until"), message)
        end = phase.until
        if phase.decay and index < len(mixture.phases) - 1:
            message = "only the last phase may decay; to continue from an earlier step, add a second mixture"
            yield Problem((*path, "phases", index, "decay"), message)
    if end > MAX_UNTIL:
        message = f"the last phase ends at {percent_string(end)}, above {MAX_UNTIL:,}00%; give the proxy more tokens"
        yield Problem((*path, "phases", len(mixture.phases) - 1, "until"), message)
    elif end != 1 and not mixture.phases[-1].decay:
        message = (
            f"the last phase ends at {percent_string(end)}; it must end at 100%, or have `decay: true` to make "
            "the mixture a branch of its own length"
        )
        yield Problem((*path, "phases", len(mixture.phases) - 1, "until"), message)


def _batches(spec: Spec, phase: Phase, path: KeyPath) -> Iterator[Problem]:
    """Check that the tokens of a step are whole samples of the phase's length, which the ranks can divide."""
    length, own = spec.train.sequence_length, phase.sequence_length
    if own is None or own == length:
        return
    for name, proxy in spec.train.proxies.items():
        tokens = proxy.global_batch_size * length
        if not tokens % (own * proxy.ranks):
            continue
        ranks = f" on {proxy.ranks} ranks" if proxy.ranks > 1 else ""
        fitting = lcm(own * proxy.ranks, length) // length
        message = (
            f"a step of proxy {name} has {tokens:,} tokens ({proxy.global_batch_size:,} × {length:,}), which are not "
            f"whole samples of {own:,}{ranks}; set its global_batch_size to a multiple of {fitting:,}, or choose a "
            "length that divides a step"
        )
        yield Problem((*path, "sequence_length"), message)


def _own_settings(spec: Spec, phase: Phase, path: KeyPath) -> Iterator[Problem]:
    for key in (*OWN_KEYS, "rope_base"):
        if not getattr(phase, key):
            continue
        if spec.train.stage != "pretrain":
            message = f"applies only to stage pretrain, and the stage is {spec.train.stage}; remove it"
            yield Problem((*path, key), message)
        elif key in OWN_KEYS and spec.target is not None and spec.target.simulate:
            message = "cannot be combined with `target.simulate`, which cuts every source once; remove one of them"
            yield Problem((*path, key), message)
    for name in phase.min_tokens:
        whole = name.partition("/")[0]
        shares = {} if phase.shares is None else phase.shares
        if name == "default" or phase.shares is None or any(shares.get(one) for one in (name, whole)):
            continue
        if not any(share for other, share in shares.items() if other.partition("/")[0] == name):
            message = f"has no effect, because the phase has no share of {name!r}; remove it, or give it a share"
            yield Problem((*path, "min_tokens", name), message)
