"""The phases of a run in whole steps and samples, with the sequence length, rotary base and documents of each.

The ends of phases round up to whole steps; the last phase ends with the run. The samples of a phase are distributed
over its sources by largest remainder, so they sum to the phase. A positive share that gets no sample is an error,
because it would silently drop a source. A step has the same tokens in every phase, so a longer sample makes a smaller
batch; consumed samples are counted in the run's length throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mixproof.mixtures.blocks.mixture import Phase
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import KeyPath
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import exact_string, percent_string

from .phase_streams import stream_name
from .rounding import ceil, largest_remainder
from .shares import PhaseShares


@dataclass(frozen=True)
class PhaseBudget:
    """One phase of a run, in samples."""

    first_sample: int
    """Of the run's `sequence_length`; the lengths of phases do not matter."""
    samples: int
    """Of the run's `sequence_length`."""
    samples_of: dict[str, int]
    """Samples by source, only positive ones, sorted by name; they sum to `samples`. In a phase with its own
    `sequence_length` they are samples of this length, and their tokens sum to those of the phase."""
    sequence_length: int | None = None
    """None: that of the run."""
    rope_base: int | None = None
    """None: that of the run's `train.rope_base`."""
    min_tokens: dict[str, int] | None = None
    """Fewest tokens of a document, by source; None: no source has a bound."""
    declared: dict[str, str] | None = None
    """Exact share of each source in the phase; None: no phase of the run has settings of its own."""

    @property
    def windows(self) -> int:
        """Samples of the phase's own length."""
        return sum(self.samples_of.values())

    @property
    def identity(self) -> dict[str, object]:
        """The fields as keys hash them: without those that are None."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def stream_of(self, source: str) -> str:
        """Return the name of the stream that the phase reads of a source."""
        return stream_name(source, self.sequence_length, (self.min_tokens or {}).get(source))


def divide_into_phases(
    spec: Spec, mixture: str, proxy: str, shares: tuple[PhaseShares, ...], whole: int, steps: int
) -> tuple[PhaseBudget, ...]:
    """Divide a run of `steps` into phases, whose ends are shares of the proxy's `whole` steps."""
    batch = spec.train.proxies[proxy].global_batch_size
    phases, start = [], 0
    rope_base: int | None = None
    for index, phase in enumerate(shares):
        end = ceil(phase.until * whole) if index < len(shares) - 1 else steps
        path: KeyPath = ("mixtures", mixture, "phases", index) if len(shares) > 1 else ("mixtures", mixture)
        if end == start:
            raise SpecError(
                f"{spec.where(*path)}: at proxy {proxy} the phase has no step: it ends at step {end} of {steps}, like "
                f"the phase before; increase train.proxies.{proxy}.tokens, or set a later `until`"
            )
        own = spec.mixtures[mixture].phases[index] if spec.mixtures[mixture].phases else None
        rope_base = rope_base if own is None or own.rope_base is None else own.rope_base
        samples_of = largest_remainder((end - start) * _windows_of_step(spec, proxy, own), phase.shares)
        _check_samples(spec, path, proxy, phase, samples_of)
        settings = {} if own is None else _own_settings(spec, own, rope_base, samples_of)
        if _has_own_settings(spec, mixture):
            settings["declared"] = {name: exact_string(phase.shares[name]) for name in samples_of}
        phases.append(PhaseBudget(start * batch, (end - start) * batch, samples_of, **settings))
        start = end
    return tuple(phases)


def _windows_of_step(spec: Spec, proxy: str, phase: Phase | None) -> int:
    """Samples of a step in a phase, which has as many tokens as every other step; the spec's checks say they divide."""
    length = spec.train.sequence_length
    own = length if phase is None or phase.sequence_length is None else phase.sequence_length
    return spec.train.proxies[proxy].global_batch_size * length // own


def _has_own_settings(spec: Spec, mixture: str) -> bool:
    """Whether a phase of the mixture differs from the run in more than its shares."""
    train, phases = spec.train, spec.mixtures[mixture].phases
    lengths, bases = {phase.sequence_length for phase in phases}, {phase.rope_base for phase in phases}
    others = bool(lengths - {None, train.sequence_length}) or bool(bases - {None, train.rope_base})
    return others or any(phase.min_tokens for phase in phases)


def _own_settings(spec: Spec, phase: Phase, rope_base: int | None, samples_of: Mapping[str, int]) -> dict[str, Any]:
    """The settings of a phase that differ from the run's; those that are None are in no key."""
    train, every = spec.train, phase.min_tokens.get("default")
    least = {name: bound for name in samples_of if (bound := phase.min_tokens.get(name, every)) is not None}
    return {
        "sequence_length": None if phase.sequence_length == train.sequence_length else phase.sequence_length,
        "rope_base": None if rope_base == train.rope_base else rope_base,
        "min_tokens": least or None,
    }


def _check_samples(spec: Spec, path: KeyPath, proxy: str, phase: PhaseShares, samples_of: Mapping[str, int]) -> None:
    samples = sum(samples_of.values())
    for name, count in samples_of.items():
        if count == 0:
            share = phase.shares[name]
            factor, least = ceil(1 / (share * samples)), Fraction(1, samples)
            raise SpecError(
                f"{spec.where(*path, name)}: at proxy {proxy} the share {percent_string(share)} of {name} needs at "
                f"least 1 sample, but {samples:,} samples give it {float(share * samples):.3g}, which rounds to 0; "
                f"train on {factor} times the tokens, set its share to {percent_string(least)}, or set it to 0"
            )
