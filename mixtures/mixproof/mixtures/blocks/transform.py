"""The key `transform` of a source: how a run rearranges its documents when it reads them."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from mixproof.mixtures.values.quantities import Share
from mixproof.mixtures.values.spec_part import SpecPart


class FillInTheMiddle(SpecPart):
    """Fill-in-the-middle (Bavarian et al. 2022): prefix, middle and suffix of a text are read in another order."""

    rate: Share = Fraction(50, 100)
    """Share of the documents, or pieces, that are transformed; chosen again in each epoch."""
    spm_rate: Share = Fraction(50, 100)
    """Share of the transformed ones that are read in the order suffix, prefix, middle (SPM); the others are read in the
    order prefix, suffix, middle (PSM)."""
    unit: Literal["document", "piece"] = "document"
    """`document`: whole documents, before they are cut into windows. `piece`: each piece of a document in a packed
    window, so that a gap and its context are always in one window; needs `windows: {pack: best_fit}`."""
    prefix: str | None = None
    """Token before the prefix. Default: found by the names that StarCoder, SantaCoder, Code Llama, DeepSeek, Qwen and
    Codestral give the three tokens."""
    suffix: str | None = None
    """Token before the suffix; given together with `prefix` and `middle`."""
    middle: str | None = None
    """Token before the middle."""

    @property
    def sentinels(self) -> tuple[str, str, str] | None:
        """The three tokens if they are given: before prefix, suffix and middle."""
        if self.prefix is None or self.suffix is None or self.middle is None:
            return None
        return self.prefix, self.suffix, self.middle


class Transform(SpecPart):
    """What a run does with a source's documents as it reads them. The build does not depend on it."""

    fim: FillInTheMiddle | None = None
    """Fill-in-the-middle, for sources of code."""
