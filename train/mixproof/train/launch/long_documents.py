"""Phases that read only long documents (`min_tokens`): whether a build has enough of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget, windows_of_pass
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import percent_string


@dataclass(frozen=True)
class LongDocuments:
    """The training documents of a source that are long enough for a phase."""

    documents: int
    tokens: int


@dataclass(frozen=True)
class PhaseUse:
    """What a phase reads of the long documents of one source."""

    mixture: str
    proxy: str
    phase: int
    source: str
    min_tokens: int
    available: LongDocuments
    need_tokens: int
    epochs: Fraction
    """Passes over the available documents in this phase; 0 if they do not fill a sample."""
    other_epochs: Fraction
    """Passes of the other phases over the whole source, which count the long documents as well."""


def count_long_documents(store: Store, manifest: Manifest, source: str, min_tokens: int) -> LongDocuments:
    """Count a source's training documents of at least `min_tokens`, EODs included."""
    documents = tokens = 0
    for part in manifest.sources[source].train.datasets:
        lengths = pq.read_table(store.path(part.provenance), columns=["tokens"])["tokens"].to_numpy()
        is_long = lengths >= min_tokens
        documents, tokens = documents + int(is_long.sum()), tokens + int(lengths[is_long].sum(dtype=np.int64))
    return LongDocuments(documents, tokens)


def uses_of_long_documents(
    spec: Spec, budgets: Mapping[tuple[str, str], RunBudget], manifest: Manifest, store: Store
) -> list[PhaseUse]:
    """List what the phases of every run read of long documents.

    Raises:
        SpecError: when the documents do not fill a sample, or are read for more epochs than the source's cap.
    """
    found: dict[tuple[str, int], LongDocuments] = {}
    uses: list[PhaseUse] = []
    for (mixture, proxy), budget in budgets.items():
        for number, phase in enumerate(budget.phases):
            for source, least in (phase.min_tokens or {}).items():
                if (source, least) not in found:
                    found[source, least] = count_long_documents(store, manifest, source, least)
                use = _use(spec, budget, (mixture, proxy, number, source), found[source, least], manifest)
                _check(spec, use, budget)
                uses.append(use)
    return uses


def _use(
    spec: Spec, budget: RunBudget, at: tuple[str, str, int, str], available: LongDocuments, manifest: Manifest
) -> PhaseUse:
    _, _, number, source = at
    phase, tokens = budget.phases[number], manifest.sources[source].train.tokens
    length = budget.length_of(phase)
    windows, others = windows_of_pass(spec, available.tokens, length), Fraction(0)
    for other in budget.phases:
        if samples := other.samples_of.get(source, 0) if other.stream_of(source) != phase.stream_of(source) else 0:
            others += Fraction(samples, windows_of_pass(spec, tokens, budget.length_of(other)))
    samples = budget.tokens_of_streams[phase.stream_of(source)] // length
    return PhaseUse(
        *at,
        min_tokens=(phase.min_tokens or {})[source],
        available=available,
        need_tokens=samples * length,
        epochs=Fraction(samples, windows) if windows else Fraction(0),
        other_epochs=others,
    )


def _check(spec: Spec, use: PhaseUse, budget: RunBudget) -> None:
    where = spec.where("mixtures", use.mixture, "phases", use.phase, "min_tokens")
    have = (
        f"the build has {use.available.documents:,} training documents of {use.source} with at least "
        f"{use.min_tokens:,} tokens, {use.available.tokens:,} tokens together"
    )
    if not use.epochs:
        length = budget.length_of(budget.phases[use.phase])
        raise SpecError(
            f"{where}: {have}, too few for one sample of {length:,} + 1; lower `min_tokens`, or add long documents"
        )
    cap = spec.max_epochs(use.source)
    if use.epochs + use.other_epochs <= cap:
        return
    share = percent_string(Fraction(budget.phases[use.phase].samples_of[use.source], budget.phases[use.phase].windows))
    others = f", and other phases read the source for {float(use.other_epochs):.3g}" if use.other_epochs else ""
    raise SpecError(
        f"{where}: {have}; at proxy {use.proxy} the phase reads {use.need_tokens:,} tokens of them, "
        f"{float(use.epochs):.3g} epochs{others}, above the cap of {float(cap):.3g}; lower `min_tokens`, the share of "
        f"{share} or the length of the phase, add long documents, or raise target.max_epochs.{use.source}"
    )
