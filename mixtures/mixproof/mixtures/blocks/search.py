"""The block `search` of a spec: how `run` searches for a mixture after it has trained the declared ones."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from mixproof.mixtures.values.quantities import ExactNumber, Share
from mixproof.mixtures.values.spec_part import Name, SpecPart
from mixproof.mixtures.values.whole_numbers import WholeNumber, WholeNumberOrZero

ROUNDS = (64, 32, 16)
"""Candidates per round of CLIMB (arXiv:2504.13161)."""
REPEATS = 4
"""Three degrees of freedom for the noise."""
FINALISTS = 3
REPEATED_PART = 8
"""One in this many candidates of the first round is run a second time."""


class FixedPart(SpecPart):
    """What all candidates have in common: the share of a source, or the ratio of the members of a group."""

    share: Share | None = None
    """Share of the source or of the whole group. Default for a group: searched."""
    of: dict[str, ExactNumber] = Field(min_length=1)
    """Members of the group, by parts."""


class CandidateRace(SpecPart):
    """When the candidates of a round stop early. `race: {}` uses the defaults."""

    rungs: tuple[Share, ...] = Field((Fraction(1, 10),), min_length=1)
    """Ascending shares of the tokens after which candidates may stop."""
    confidence: Share = Fraction(95, 100)
    """That the best candidate of a round is stopped at none of its rungs."""


class Search(SpecPart):
    """How candidates are chosen and measured. Options of `mixproof search` replace these values."""

    proxy: Name | None = None
    """The proxy that candidates are trained with. Default: the first of `train.proxies`."""
    rounds: tuple[WholeNumber, ...] = Field(ROUNDS, min_length=1)
    """Number of candidates in each round."""
    repeats: WholeNumber = REPEATS
    """Seeds of the anchor, and fresh seeds of each finalist."""
    repeat_candidates: WholeNumberOrZero | None = None
    """Candidates of the first round that are run with a second seed: those farthest from the anchor and from each
    other. They show whether the noise depends on the mixture. Default: an eighth of the first round, rounded down."""
    finalists: WholeNumber = FINALISTS
    """Best measured mixtures that are compared with the predicted optimum."""
    fixed: dict[str, FixedPart] = Field(default={})
    """Shares that the search does not change. `code: 20%` fixes the share of a source (0% leaves it out).
    `web: {of: {high: 2, low: 1}}` keeps the ratio of the members of a group and searches the share of the group; with
    `share: 30%` beside `of`, the share of the group is fixed as well."""
    phase: Literal["decay"] | None = None
    """`decay`: search the mixture of the decay only. All candidates branch from a trunk, the stable phase of the
    schedule, which is trained once per seed. Default: the mixture of the whole run."""
    trunk: Name | None = None
    """For `phase: decay`: the mixture of the trunk. Default: the spec's first mixture."""
    race: CandidateRace | None = None
    """The candidates of a round race: after each rung those stop that are in the worse half of the round and, with the
    declared confidence, not the best. Default: all candidates are trained to the end."""

    @property
    def repeated(self) -> int:
        """Candidates of the first round that are run a second time; none if the anchor has a single seed."""
        if self.repeats < 2:
            return 0
        first = self.rounds[0]
        return first // REPEATED_PART if self.repeat_candidates is None else min(first, self.repeat_candidates)
