"""The blend of a phase as stock Megatron-LM reads it, and the samples that it will deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.train.data.megatron_helpers import megatron_helpers
from mixproof.train.request import Draw

from .file_names import without_white_space


@dataclass(frozen=True)
class StockBlend:
    """The datasets of a phase in stock Megatron-LM's form."""

    prefixes: tuple[str, ...]
    weights: tuple[Fraction, ...]
    """They sum to the samples of the phase."""
    sources: tuple[str, ...]
    """The source of each dataset."""
    content: str = ""
    """SHA-256 of the checksums of the datasets."""

    @property
    def words(self) -> list[str]:
        """Weight, prefix, weight, prefix ..."""
        pairs = zip(self.weights, self.prefixes, strict=True)
        return [word for weight, prefix in pairs for word in (f"{float(weight):.12g}", prefix)]


def stock_blend(manifest: Manifest, store: Store, phase: PhaseBudget, draws: Mapping[str, Draw] | None) -> StockBlend:
    """The datasets of a phase, each weighted by its part of the planned samples."""
    prefixes, weights, sources, checksums = [], [], [], []
    for source, samples in phase.samples_of.items():
        parts: Sequence[DatasetRecord] = [part for part in manifest.sources[source].train.datasets if part.tokens]
        if draws is not None:
            parts = [draws[phase.stream_of(source)].as_part]
        tokens = sum(part.tokens for part in parts)
        for part in parts:
            prefixes.append(_prefix(store, part))
            weights.append(Fraction(samples * part.tokens, tokens))
            sources.append(source)
            checksums.append([part.bin_sha256, part.idx_sha256])
    return StockBlend(tuple(prefixes), tuple(weights), tuple(sources), sha256_of(checksums))


def validation_data(manifest: Manifest, store: Store) -> list[str]:
    """Weights and prefixes of all sources' held-out parts, weighted by tokens."""
    parts = [part for source in manifest.sources.values() for part in source.heldout.datasets if part.tokens]
    return [word for part in parts for word in (str(part.tokens), _prefix(store, part))]


def stock_samples(blend: StockBlend, samples: int) -> dict[str, int]:
    """Samples of each source in the first `samples` samples of Megatron-LM's own blend.

    Megatron-LM's dataset is slightly longer, because it rounds each source's samples up, and a run reads its first
    `samples`. The greedy order of a longer dataset starts with the same samples.
    """
    total = sum(blend.weights)
    weights = np.array([float(weight / total) for weight in blend.weights], np.float64)
    dataset = np.zeros(samples, np.int16)
    sample = np.zeros(samples, np.int64)
    megatron_helpers().build_blending_indices(dataset, sample, weights, len(weights), samples, False)
    found = dict.fromkeys(blend.sources, 0)
    for source, count in zip(blend.sources, np.bincount(dataset, minlength=len(weights)).tolist(), strict=True):
        found[source] += count
    return found


def _prefix(store: Store, part: DatasetRecord) -> str:
    return without_white_space(str(store.folder(part.prefix).absolute()))
