"""The space that the mixtures of a table span.

Supply and caps of the sources are unknown in a table, so no source gets more than the largest share with which it was
run: in a phase, and over the whole run. `--cap` lowers the latter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import nearest
from mixproof.mixtures.search.predictors.predictor import FloatArray
from mixproof.mixtures.search.space import UNITS, Space, rounded_center
from mixproof.mixtures.values.quantities import parse_share, percent_string

from .phased_space import phased_space
from .run_phases import RunPhases

LEAST_SHARE = Fraction(1, 1000)
RESOLUTION = 10**9
"""Resolution to which shares of a table are rounded, so that they are exact."""


def spanned_space(
    sources: Sequence[str], shares: FloatArray, phases: RunPhases | None, caps: Mapping[str, Fraction]
) -> Space:
    """The space centered on the mean of some mixtures, no source above its largest share.

    Args:
        sources: their names, without phases.
        shares: [mixtures, sources], or [mixtures, sources of all phases, one phase after the other].
        phases: of the runs; None if a mixture holds for the whole run.
        caps: largest shares of the whole run, for the sources that have a cap.

    Raises:
        SpecError: when no mixture is within the caps.
    """
    lengths = (Fraction(1),) if phases is None else phases.lengths
    pieces = np.split(shares, len(lengths), axis=1)
    parts = [_part(sources, own, caps, length) for own, length in zip(pieces, lengths, strict=True)]
    if phases is None:
        return parts[0]
    used = whole_run(shares, lengths).max(axis=0)
    largest = {name: _units_up(share) + Fraction(1, UNITS) for name, share in zip(sources, used, strict=True)}
    return phased_space(phases, sources, parts, {name: min(caps.get(name, own), own) for name, own in largest.items()})


def whole_run(shares: FloatArray, lengths: Sequence[Fraction]) -> FloatArray:
    """Shares of the whole run [mixtures, sources] of shares of phases [mixtures, columns]."""
    pieces = np.split(shares, len(lengths), axis=1)
    weighted = [float(length) * piece for length, piece in zip(lengths, pieces, strict=True)]
    return np.asarray(np.sum(weighted, axis=0), np.float64)


def within_caps(
    sources: Sequence[str], shares: FloatArray, phases: RunPhases | None, caps: Mapping[str, Fraction]
) -> NDArray[np.bool_]:
    """Which mixtures [mixtures] exceed no cap; arguments as for `spanned_space`.

    Raises:
        SpecError: when none is within the caps.
    """
    used = whole_run(shares, (Fraction(1),) if phases is None else phases.lengths)
    allowed = np.ones(len(used), np.bool_)
    for name, cap in caps.items():
        allowed &= used[:, sources.index(name)] <= float(cap) + 1 / RESOLUTION
    if not allowed.any():
        listed = ", ".join(f"{name}={percent_string(cap)}" for name, cap in caps.items())
        raise SpecError(f"--cap {listed}: no mixture that was run is within these caps, so none can be recommended")
    return allowed


def read_caps(given: Sequence[str], sources: Sequence[str]) -> dict[str, Fraction]:
    """Read every `SOURCE=SHARE`.

    Raises:
        SpecError: when it is not a share, or does not name a source.
    """
    caps: dict[str, Fraction] = {}
    for text in given:
        name, _, share = (piece.strip() for piece in text.rpartition("="))
        if name not in sources:
            raise SpecError(f"--cap {text}: write SOURCE=SHARE, such as {sources[0]}=20%; {nearest(name, sources)}")
        if name in caps:
            raise SpecError(f"--cap {text}: {name} has a cap already; give each source one")
        try:
            caps[name] = parse_share(share)
        except ValueError as error:
            raise SpecError(f"--cap {text}: {error}") from None
    return caps


def _part(sources: Sequence[str], shares: FloatArray, caps: Mapping[str, Fraction], length: Fraction) -> Space:
    """The space of one phase; if all mixtures have the same shares in it, these alone."""
    mean = rounded_center({n: round(RESOLUTION * share) for n, share in zip(sources, shares.mean(axis=0), strict=True)})
    if len(shares) > 1 and not np.ptp(shares, axis=0).any():
        return Space.of(mean, mean, Fraction(1, UNITS))
    largest = {name: _units_up(share) for name, share in zip(sources, shares.max(axis=0), strict=True)}
    most = {name: min(share, caps.get(name, length) / length) for name, share in largest.items()}
    total = sum(int(share * UNITS) for share in most.values())
    if total < UNITS:
        listed = ", ".join(f"{name} {percent_string(share)}" for name, share in most.items())
        raise SpecError(
            f"--cap: no mixture is within the caps and the largest shares that were run: at most {listed}, "
            f"{percent_string(Fraction(total, UNITS))} together; raise a cap"
        )
    return Space.of(mean, most, LEAST_SHARE)


def _units_up(share: float) -> Fraction:
    """A share, rounded up to whole units."""
    return Fraction(-(-round(RESOLUTION * share) * UNITS // RESOLUTION), UNITS)
