"""The block `search` of a spec: how `run` searches for a mixture after it has trained the declared ones."""

from __future__ import annotations

from pydantic import Field

from mixproof.mixtures.values.spec_part import Name, SpecPart
from mixproof.mixtures.values.whole_numbers import WholeNumber

ROUNDS = (64, 32, 16)
"""Candidates per round of CLIMB (arXiv:2504.13161)."""
REPEATS = 4
"""Three degrees of freedom for the noise."""
FINALISTS = 3


class Search(SpecPart):
    """How candidates are chosen and measured. Options of `mixproof search` replace these values."""

    proxy: Name | None = None
    """The proxy that candidates are trained with. Default: the first of `train.proxies`."""
    rounds: tuple[WholeNumber, ...] = Field(ROUNDS, min_length=1)
    """Number of candidates in each round."""
    repeats: WholeNumber = REPEATS
    """Seeds of the anchor, and fresh seeds of each finalist."""
    finalists: WholeNumber = FINALISTS
    """Best measured mixtures that are compared with the predicted optimum."""
