"""Builds and runs by name instead of path: the first digits of a key, or a run's spec, mixture, proxy and seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.keys import NAMES, SHORTEST, find_key
from mixproof.ledger.objects.urls import is_remote
from mixproof.ledger.store import Store
from mixproof.train.launch.plan import plan_requests
from mixproof.train.outcome import RunOutcome, find_outcomes

from .request import open_request

KEY_START = re.compile(f"[0-9a-f]{{{SHORTEST},64}}")
SPEC_SUFFIXES = (".yaml", ".yml")
SHOWN = 8


@dataclass(frozen=True)
class RunChoice:
    """A run of a spec, by what distinguishes its runs; None: any."""

    mixture: str | None = None
    proxy: str | None = None
    seed: int | None = None

    @property
    def given(self) -> bool:
        """Whether anything was chosen."""
        return any(value is not None for value in (self.mixture, self.proxy, self.seed))

    def fits(self, run: RunOutcome) -> bool:
        """Whether a run is one of those that were chosen."""
        pairs = ((self.mixture, run.mixture), (self.proxy, run.proxy), (self.seed, run.seed))
        return all(wanted is None or wanted == found for wanted, found in pairs)

    def __str__(self) -> str:
        options = (("--mixture", self.mixture), ("--proxy", self.proxy), ("--seed", self.seed))
        return " ".join(f"{name} {value}" for name, value in options if value is not None)


def named(target: str, store: str) -> str:
    """The location of the build or run that `target` names; `target` itself if it is a path, a URL or a spec.

    Args:
        target: a path or URL, or the first four or more digits of the key of a build or run.
        store: where keys are looked up.

    Raises:
        RequestError: when `store` has no such build or run, or several.
    """
    if KEY_START.fullmatch(target) is None or is_remote(target) or Path(target).exists():
        return target
    opened = Store(store)
    opened.check()
    absent = (
        f"neither a file nor the key of a build or run in {store}; `mixproof store list --store {store}` shows the keys"
    )
    return opened.location("/".join(find_key(opened, tuple(NAMES), target, absent=absent)))


def named_run(target: str, store: str, choice: RunChoice) -> str:
    """The location of a run: `target` as in `named`, or a spec, of whose runs `choice` selects one.

    Raises:
        RequestError: as in `named`; when the spec has no such run, several, or it was not trained; or when a choice is
            given for a target that is not a spec.
    """
    if not target.endswith(SPEC_SUFFIXES):
        if choice.given:
            raise RequestError(f"{choice}: these options choose a run of a spec, and {target} is not a spec")
        return named(target, store)
    request = open_request(Path(target), store)
    runs = find_outcomes(plan_requests(request.spec, request.manifest(), request.store, None))
    found = [run for run in runs if choice.fits(run)]
    if not found:
        raise RequestError(f"{target} {choice}: the spec has no such run; it has {_listed(runs)}")
    if len(found) > 1:
        shown = f"{target} {choice}".strip()
        raise RequestError(
            f"{shown}: the spec has {len(found)} such runs; add --mixture, --proxy or --seed: {_listed(found)}"
        )
    if found[0].record is None:
        raise RequestError(
            f"{target} {choice}: this run is not in {request.store}; run `mixproof train {target} --store "
            f"{request.store}`"
        )
    return found[0].location


def _listed(runs: list[RunOutcome]) -> str:
    names = [f"{run.mixture} × {run.proxy} × seed {run.seed}" for run in runs[:SHOWN]]
    return ", ".join(names) + (f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else "")
