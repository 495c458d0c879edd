"""The runs of candidates: which mixture a point of the space is, and what all of them read.

whole run   candidate: the searched shares
decay       trunk, with a mixture of its own, trained once per seed  >  candidate: the searched shares
race        candidate: the searched shares, its trunk in pieces that end where the rungs branch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mixproof.mixtures.arithmetic.rounding import ceil
from mixproof.mixtures.arithmetic.rungs import rung_mixture
from mixproof.mixtures.blocks.mixture import Mixture, Phase
from mixproof.mixtures.search.space import UNITS, Space


@dataclass(frozen=True)
class Trunk:
    """The first phase of all candidates."""

    mixture: str
    """Its name in the spec."""
    phase: Phase
    """Its shares or rule, as in the spec, and its end."""
    shares: Mapping[str, Fraction]
    """Its positive shares, resolved."""
    samples_of: Mapping[str, int]
    """Samples of each source at the proxy."""

    @property
    def until(self) -> Fraction:
        """Its end, as a share of the run."""
        return self.phase.until


@dataclass(frozen=True)
class CandidateRuns:
    """The candidates of a search and what their runs have in common."""

    space: Space
    sequence_length: int
    samples: int
    """Samples of the phase whose shares are searched."""
    trunk: Trunk | None
    """What is trained before that phase; None if the whole run is searched."""
    rungs: tuple[Fraction, ...] = ()
    """Parts of the full budget after which candidates may stop; empty without a race."""
    decay: Fraction = Fraction(0)
    """Share of each rung's tokens that is its decay."""

    def run(self, units: Sequence[int], part: Fraction) -> Mixture:
        """The mixture of a candidate's run to a part of the full budget."""
        if not self.rungs:
            return self.mixture(units)
        parts = [*(rung for rung in self.rungs if rung < part), part]
        return rung_mixture(self.space.mixture(units), parts, self.decay)

    def mixture(self, units: Sequence[int]) -> Mixture:
        """The mixture of a candidate's whole run."""
        shares = self.space.mixture(units)
        if self.trunk is None:
            return Mixture(shares=shares)
        return Mixture(phases=(self.trunk.phase, Phase(until=Fraction(1), decay=True, shares=shares)))

    def draw_tokens(self) -> dict[str, int]:
        """Tokens of each source that a candidate can read in one pass at most, so that all rounds share their draws."""
        samples_of = {} if self.trunk is None else dict(self.trunk.samples_of)
        for name, most in self._largest_shares().items():
            samples_of[name] = samples_of.get(name, 0) + ceil(self.samples * most)
        if self.rungs:  # each further phase may round up by one sample
            samples_of = {name: count + len(self.rungs) + 1 for name, count in samples_of.items() if count}
        return {name: samples * self.sequence_length + 1 for name, samples in sorted(samples_of.items()) if samples}

    def _largest_shares(self) -> dict[str, Fraction]:
        """The largest share of each source in the searched phase."""
        limits = zip(self.space.sources, self.space.most_units, strict=True)
        most = {name: Fraction(units, UNITS) for name, units in limits}
        return most if self.space.pins is None else self.space.pins.mixture(most)
