"""The learning rate that a sweep chooses, which others are as good within the noise, and reasons to doubt it.

With one seed the rate with the best objective is chosen. With several seeds, rates that are not worse than the best one
beyond the noise of their differences (95%, Student's t, as in `compare`, widened for the number of rates) cannot be
told apart. Of the rates from the lowest to the highest of these, the middle one is chosen: it is the farthest from
both sides on which the objective gets worse. Of two middle ones the lower is chosen, because a rate that is too high
costs more: runs become unstable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mixproof.mixtures.search.seed_noise import analyse

CONFIDENCE = 0.95


@dataclass(frozen=True)
class TriedRates:
    """What one mixture scored at each rate."""

    by_seed: Mapping[str, tuple[float, ...] | None]
    """By rate, lowest first: the objective of each seed, lower is better; None: a run failed, for example because the
    loss became infinite."""

    @property
    def means(self) -> dict[str, float | None]:
        """By rate, the mean over seeds."""
        return {rate: None if own is None else float(np.mean(own)) for rate, own in self.by_seed.items()}

    @property
    def best(self) -> str | None:
        """The rate with the lowest mean; None if all failed."""
        done = {rate: mean for rate, mean in self.means.items() if mean is not None}
        return min(done, key=lambda rate: done[rate]) if done else None

    @property
    def as_good(self) -> list[str]:
        """Neighbouring rates that cannot be told apart from the best one, and that one; with one seed it alone."""
        done = {rate: own for rate, own in self.by_seed.items() if own is not None}
        if self.best is None:
            return []
        rates, best = list(done), list(done).index(self.best)
        if len(rates) < 2 or len(done[self.best]) < 2:
            return [self.best]
        from scipy.stats import t  # here, because it takes 0.5 s, which a plan need not spend

        noise = analyse(list(done.values()))

        def close(row: int) -> bool:
            variance = noise.of_difference(best, row)
            half = t.ppf(1 - (1 - CONFIDENCE) / (2 * (len(rates) - 1)), variance.degrees_of_freedom)
            half *= np.sqrt(2 * variance.variance / len(done[self.best or ""]))
            return bool(row == best or noise.values[row].mean() - noise.values[best].mean() <= half)

        first = last = best
        while first > 0 and close(first - 1):
            first -= 1
        while last < len(rates) - 1 and close(last + 1):
            last += 1
        return rates[first : last + 1]

    @property
    def chosen(self) -> str | None:
        """The lower middle one of the rates that are as good; None if all failed."""
        found = self.as_good
        return found[(len(found) - 1) // 2] if found else None


@dataclass(frozen=True)
class ChosenRate:
    """The outcome of one proxy's sweep."""

    proxy: str
    anchor: str
    lr: str
    """The rate that all runs of the proxy have."""
    objective_of: Mapping[str, Mapping[str, float | None]]
    """By mixture and rate, the mean over seeds; lower is better; None: a run failed."""
    seeds: int = 1
    """How many seeds were trained at each rate."""
    as_good: Sequence[str] = ()
    """Rates that cannot be told apart from the best one of the anchor, which is among them."""
    as_good_of: Mapping[str, Sequence[str]] | None = None
    """The same by mixture."""

    @classmethod
    def of(cls, proxy: str, anchor: str, tried: Mapping[str, TriedRates]) -> ChosenRate | None:
        """Choose by the anchor's objective; None if the anchor failed at every rate."""
        lr, own = tried[anchor].chosen, tried[anchor].as_good
        if lr is None:
            return None
        seeds = len(tried[anchor].by_seed[lr] or ())
        means, close = ({name: getattr(one, key) for name, one in tried.items()} for key in ("means", "as_good"))
        return cls(proxy, anchor, lr, means, seeds, own, close)

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof train --json` prints."""
        return {**asdict(self), "warnings": self.warnings}

    @property
    def sentence(self) -> str:
        """The choice in words."""
        own = self.objective_of[self.anchor]
        shown = ", ".join(f"{rate}: {_shown(value)}" for rate, value in own.items())
        if len(self.as_good) < 2:
            return f"proxy {self.proxy}: learning rate {self.lr}, the best for {self.anchor} ({shown})"
        close = f"{', '.join(self.as_good[:-1])} and {self.as_good[-1]}"
        return (
            f"proxy {self.proxy}: learning rate {self.lr}; for {self.anchor}, {close} cannot be told "
            f"apart within the noise of {self.seeds} seeds, so the middle one is used ({shown})"
        )

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the chosen rate."""
        found = []
        rates, best = list(self.objective_of[self.anchor]), _best(self.objective_of[self.anchor])
        if best in (rates[0], rates[-1]):
            end = "lowest" if best == rates[0] else "highest"
            found.append(f"proxy {self.proxy}: the best rate {best} is the {end} of the sweep; try rates beyond it")
        for mixture, own in self.objective_of.items():
            best = _best(own)
            close = (self.as_good_of or {}).get(mixture, ())
            if best is not None and best != self.lr and self.lr not in close:
                found.append(
                    f"proxy {self.proxy}: {mixture} is best at the rate {best} ({_shown(own[best])}), and all mixtures "
                    f"are trained at {self.lr} ({_shown(own[self.lr])}), the best of {self.anchor}"
                )
        return found


def _best(objective_at: Mapping[str, float | None]) -> str | None:
    done = {rate: value for rate, value in objective_at.items() if value is not None}
    return min(done, key=lambda rate: done[rate]) if done else None


def _shown(value: float | None) -> str:
    return "failed" if value is None else f"{value:.4f}"
