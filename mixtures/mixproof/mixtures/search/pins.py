"""Shares that a search does not vary: fixed shares of sources, and groups whose members keep their ratio.

A search divides what the fixed shares leave among *parts*: groups, and the sources in no group. A member of a group
has its fixed fraction of the group's share, so every mixture keeps fixed shares and ratios exactly. Predictors see the
parts only, because nothing else varies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Pins:
    """What a search does not vary."""

    fixed: Mapping[str, Fraction]
    """Share of each source with a fixed share; 0 leaves it out."""
    members: Mapping[str, Mapping[str, Fraction]]
    """By part, the fraction of each of its sources; they are positive and sum to 1."""

    @property
    def free(self) -> Fraction:
        """The share that is divided among the parts."""
        return 1 - sum(self.fixed.values(), Fraction(0))

    def mixture(self, shares: Mapping[str, Fraction]) -> dict[str, Fraction]:
        """The positive shares of sources, exactly, from the parts' shares of what is searched."""
        found = {name: share for name, share in self.fixed.items() if share}
        for part, share in shares.items():
            found |= {name: self.free * share * fraction for name, fraction in self.members[part].items()}
        return dict(sorted(found.items()))

    def by_source(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Shares of all sources, as floats, from the share of every part."""
        found = {name: float(share) for name, share in self.fixed.items()}
        for part, share in shares.items():
            found |= {name: float(self.free * fraction) * share for name, fraction in self.members[part].items()}
        return dict(sorted(found.items()))

    def summed(self, values: Mapping[str, Fraction]) -> dict[str, Fraction]:
        """The sum of a value over the sources of each part."""
        zero = Fraction(0)
        return {part: sum((values.get(name, zero) for name in of), zero) for part, of in self.members.items()}

    def largest(self, most: Mapping[str, Fraction]) -> dict[str, Fraction]:
        """The largest share of each part, of what is searched, if no source exceeds `most` of the mixture."""
        return {
            part: min(most[name] / (fraction * self.free) for name, fraction in of.items())
            for part, of in self.members.items()
        }

    def smallest(self, least: Fraction, sample: Fraction) -> dict[str, Fraction]:
        """The smallest positive share of each part: `least` of the mixture, and `sample` of it for every source."""
        return {
            part: max(least, *(sample / fraction for fraction in of.values())) / self.free
            for part, of in self.members.items()
        }
