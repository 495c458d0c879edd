"""The spec that a search writes: it extends the searched one, with the recommended mixture and its runners-up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path

import orjson

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import publish_bytes
from mixproof.mixtures.blocks.mixture import Mixture, Objective, Phase
from mixproof.mixtures.load import LoadedSpec, load_spec
from mixproof.mixtures.search.outcome import Outcome
from mixproof.mixtures.values.quantities import exact_string

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


def write_spec(searched: LoadedSpec, ranked: Sequence[Mixture], output: Path, about: Sequence[str] = ()) -> Path:
    """Write a spec that extends the searched one and has only the mixture found and its runners-up.

    Args:
        searched: the spec that was searched.
        ranked: the mixtures found, best first.
        output: where to write.
        about: comment lines on how they were found.

    Returns:
        Its absolute path. The file was loaded as a check.
    """
    parent = os.path.relpath(searched.path.resolve(), output.resolve().parent)
    existing = searched.spec.mixtures
    declared = []
    for name, mixture in zip(mixture_names(len(ranked)), ranked, strict=True):
        free = name if name not in existing else next(n for i in count(2) if (n := f"{name}-{i}") not in existing)
        declared.append(f"  {free}: {_spelled(mixture)}\n")
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


def _spelled(mixture: Mixture) -> str:
    """A mixture in YAML, on one line, with exact shares."""
    if not mixture.phases:
        return f"{{{_shares(mixture.shares or {})}}}"
    phases = []
    for phase in mixture.phases:
        decay = ", decay: true" if phase.decay else ""
        phases.append(f"{{until: {_share(phase.until)}{decay}, {_blend(phase)}}}")
    return f"{{phases: [{', '.join(phases)}]}}"


def _blend(phase: Phase) -> str:
    if phase.rule is None:
        return f"shares: {{{_shares(phase.shares or {})}}}"
    times = ", ".join(f"{_quoted(name)}: {exact_string(value)}" for name, value in phase.times.items())
    temperature = "" if phase.temperature is None else f", temperature: {exact_string(phase.temperature)}"
    return f"rule: {phase.rule}{temperature}" + (f", times: {{{times}}}" if times else "")


def _shares(shares: Mapping[str, Fraction]) -> str:
    return ", ".join(f"{_quoted(source)}: {_share(share)}" for source, share in shares.items())


def _share(share: Fraction) -> str:
    """`12.34%`, or `1/3` where no finite decimal exists."""
    percent = exact_string(100 * share)
    return exact_string(share) if "/" in percent else f"{percent}%"
