"""Estimate what a spec will cost: FLOPs, hours and bytes, from throughput that was measured in this store.

    documents    file bytes / (file bytes per core-second of this store's largest build that reused nothing)
    training     tokens / (tokens per second of this store's runs of the same shape and sequence length), by device
    bytes        per checkpoint: weights and two moments in float32

Without a build in the store there is no document rate, and without a run of the same shape training time assumes 40% of
the 989 TFLOP/s of an H100 (dense bfloat16, NVIDIA's data sheet), unless the machine was measured (`measure.py` here and
in tokenize); the plan says which. Bytes of the build are in `disk.py`.
Start-up, held-out evaluation and queueing are not included.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES, MANIFEST, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.blocks.train import Architecture
from mixproof.mixtures.spec import Spec
from mixproof.train.proxies import architecture_of, flops_of_tokens, flops_per_token, memory_of
from mixproof.train.record import TRAIN, ArchitectureRecord

from .runs_table import readable_records

log = logging.getLogger(__name__)
ASSUMED_FLOPS_PER_SECOND = 0.4 * 989e12
ASSUMED = "assumed: 40% of the 989 TFLOP/s of an H100"


@dataclass(frozen=True)
class Rate:
    """A throughput and its source."""

    amount: float
    """Bytes per core-second, or tokens per second of one device."""
    device: str
    """`core`, `cpu` or `cuda`."""
    source: str


@dataclass(frozen=True)
class ProxyCost:
    """The total cost of one proxy's runs."""

    proxy: str
    runs: int
    tokens: int
    flops: int
    rate: Rate
    hours: float
    """Device hours, on the rate's device."""
    checkpoint_bytes: int
    """Of all checkpoints that are kept."""


def document_rate(store: Store) -> Rate | None:
    """Throughput of this store's largest build in reading, filtering and tokenizing; None if all reused work."""
    best: tuple[int, Rate] | None = None
    for build in store.keys(BUILDS):
        path = store.path(f"{BUILDS}/{build}/{MANIFEST}")
        circumstances = _read(store, f"{BUILDS}/{build}") if path.is_file() else {}
        seconds = sum(circumstances.get("seconds", {}).values())
        if not seconds or circumstances.get("stages_reused"):
            continue
        try:
            sources = read_manifest(path).sources.values()
        except RequestError as error:
            log.warning("%s; left out of the estimate", error)
            continue
        inputs = {source.inputs.path: source.inputs for source in sources}
        size = sum(files.bytes for files in inputs.values())  # the parts of a split source read the same files
        speed = size / (seconds * circumstances["machine"]["processors"])
        if best is None or size > best[0]:
            best = size, Rate(speed, "core", f"measured: build {build[:8]} of this store")
    return None if best is None else best[1]


def training_rates(store: Store) -> Iterator[tuple[ArchitectureRecord, int, Rate]]:
    """Shape, sequence length and throughput of every finished run in this store."""
    for record in readable_records(store):
        circumstances = _read(store, f"{TRAIN}/{record.key}")
        speed = circumstances.get("tokens_per_second", 0) / max(circumstances.get("ranks", 1), 1)
        if record.status == "done" and speed:
            yield record.architecture, record.sequence_length, Rate(speed, circumstances["device"], "")


def proxy_costs(
    spec: Spec,
    budgets: Mapping[tuple[str, str], RunBudget],
    runs_of: Mapping[tuple[str, str], int],
    vocab_size: int,
    store: Store,
    measured_here: Mapping[str, Rate] | None = None,
) -> list[ProxyCost]:
    """Estimate the training cost of each proxy.

    Args:
        spec: a checked spec.
        budgets: by (mixture, proxy).
        runs_of: number of seeds still to be trained, by (mixture, proxy).
        vocab_size: number of token ids.
        store: its finished runs provide the rates.
        measured_here: rates by proxy where the store has no run of the same shape; None: they are assumed.
    """
    measured, here = list(training_rates(store)), measured_here or {}
    length = spec.train.sequence_length
    costs = []
    for name, recipe in spec.train.proxies.items():
        shape = architecture_of(name, recipe)
        mine = [(budget, runs_of[pair]) for pair, budget in budgets.items() if pair[1] == name]
        tokens = sum(budget.tokens_planned * runs for budget, runs in mine)
        work = [
            (flops_of_tokens(shape, vocab_size, budget.tokens_by_length(budget.samples)), runs) for budget, runs in mine
        ]
        flops, at_length = sum(each * runs for each, runs in work), flops_per_token(shape, vocab_size, length)
        rate = _training_rate(measured, shape, length) or here.get(name) or assumed_rate(at_length)
        checkpoint = memory_of(shape, vocab_size, length, micro_batch_size=1, activation_width=2).checkpoint
        kept = sum(_checkpoints(budget) * runs for budget, runs in mine)
        hours = flops / at_length / rate.amount / 3600
        runs = sum(runs for _, runs in mine)
        costs.append(ProxyCost(name, runs, tokens, flops, rate, hours, checkpoint * kept))
    return costs


def assumed_rate(flops_per_token: int) -> Rate:
    """The rate of one GPU where nothing was measured."""
    return Rate(ASSUMED_FLOPS_PER_SECOND / flops_per_token, "cuda", ASSUMED)


def _training_rate(
    measured: list[tuple[ArchitectureRecord, int, Rate]], shape: Architecture, length: int
) -> Rate | None:
    """Median of this store's runs of the same shape, GPU runs preferred; None without any."""
    same = [rate for record, seen, rate in measured if seen == length and record.model_dump() == shape.model_dump()]
    for device in ("cuda", "cpu"):
        speeds = [rate.amount for rate in same if rate.device == device]
        if speeds:
            return Rate(median(speeds), device, f"measured: {len(speeds)} runs of this store")
    return None


def _checkpoints(budget: RunBudget) -> int:
    every = budget.checkpoint_steps
    return 1 if every is None else -(-budget.steps // every)


def _read(store: Store, folder: str) -> dict[str, Any]:
    """Circumstances of a build or run; empty if there are none, or if they cannot be read."""
    path = store.path(f"{folder}/{CIRCUMSTANCES}")
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        log.warning("%s: %s; left out of the estimate", path, error)
        return {}
    return found if isinstance(found, dict) else {}
