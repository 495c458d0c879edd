"""The spec that a search writes: it extends the searched one, with the recommended mixture and its runners-up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import orjson

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import publish_bytes
from mixproof.mixtures.blocks.mixture import Objective
from mixproof.mixtures.load import LoadedSpec, load_spec
from mixproof.mixtures.search.outcome import Outcome, Units
from mixproof.mixtures.search.space import UNITS, Space

FOUND, RUNNER_UP = "found", "runner-up"
"""Names of the mixtures in the spec that a search writes; maps merge, so no other mixture may have them."""
HEADER = "# Written by mixproof search; another search of the same spec replaces it.\n"


def check_output(output: Path, spec: Path) -> None:
    """Refuse to replace a file that no search wrote, before any work.

    Raises:
        RequestError: when the file is another one, or its folder does not exist.
    """
    if output.exists() and not output.read_bytes().startswith(HEADER.encode()):
        raise RequestError(f"{output}: exists and was not written by a search; name another file with --output")
    if not output.parent.is_dir():
        raise RequestError(f"{output}: the folder {output.parent} does not exist; create it (the spec extends {spec})")


def about_finalists(proxy: str, outcome: Outcome) -> list[str]:
    """Measured scores, as comment lines for the written spec."""
    gain = outcome.gain
    trained = [one for one in outcome.confirmations if one.scores]
    means = [
        f"  {name}: {one.finalist.kind}, {one.mean:.4f} over {len(one.scores)} fresh seeds"
        for name, one in zip(mixture_names(len(trained)), trained, strict=True)
    ]
    if gain is not None:
        means[0] += f"; {gain.mean:.4f} below the anchor, {gain.low:.4f} to {gain.high:.4f} at 95%"
    return [
        f"At proxy {proxy}, after {len(outcome.measured)} runs, the recommended mixture and its runners-up scored:",
        *means,
        "For the big run, add a proxy of that size under `train.proxies`, or use `mixproof export`.",
    ]


def mixture_names(count: int) -> list[str]:
    """Names of the recommended mixture and its runners-up."""
    return [FOUND, *(f"{RUNNER_UP}-{number}" for number in range(1, count))]


def write_spec(
    searched: LoadedSpec, space: Space, ranked: Sequence[Units], output: Path, about: Sequence[str] = ()
) -> Path:
    """Write a spec that extends the searched one and has only the mixture found and its runners-up.

    Args:
        searched: the spec that was searched.
        space: of its candidates.
        ranked: the mixtures found, best first.
        output: where to write.
        about: comment lines on how they were found.

    Returns:
        Its absolute path. The file was loaded as a check.
    """
    parent = os.path.relpath(searched.path.resolve(), output.resolve().parent)
    existing = searched.spec.mixtures
    declared = []
    for name, units in zip(mixture_names(len(ranked)), ranked, strict=True):
        shares = ", ".join(
            f"{_quoted(source)}: {100 * part / UNITS:g}%" for source, part in units_by_source(space, units).items()
        )
        free = name if name not in existing else next(n for i in count(2) if (n := f"{name}-{i}") not in existing)
        declared.append(f"  {free}: {{{shares}}}\n")
    others = "".join(f"  {_quoted(name)}: null\n" for name in existing)
    search = "" if searched.spec.search is None else "search: null\n"
    comments = "".join(f"# {line}\n" for line in about)
    text = (
        f"{HEADER}{comments}schema: 1\nname: {searched.spec.name}-{FOUND}\nextends: {_quoted(parent)}\n"
        f"{search}mixtures:\n{''.join(declared)}{others}{_without_anchor(searched.spec.objective)}"
    )
    publish_bytes(text.encode(), output)
    load_spec(output)
    return output.resolve()


def _without_anchor(objective: Objective | None) -> str:
    """Remove an anchor that the written spec does not have among its mixtures."""
    return "" if objective is None or objective.anchor is None else "objective: {anchor: null}\n"


def _quoted(text: str) -> str:
    """Quote a string so that YAML reads it as a string."""
    return orjson.dumps(text).decode()


def units_by_source(space: Space, units: Units) -> dict[str, int]:
    """The positive units of a mixture, by source."""
    return {name: count for name, count in zip(space.sources, units, strict=True) if count}
