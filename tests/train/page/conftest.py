"""Evidence as a store would hold it after a small experiment: three mixtures, two seeds, losses at every stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pytest

from mixproof.ledger.manifest import Manifest
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.train.compare.compare import compare
from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.page.evidence import Evidence, Missing, RunEvidence, SpecEvidence
from mixproof.train.record import RunRecord
from page_reader import Page
from small_manifest import SOURCES, digest, manifest

BUILD = manifest()

MIXTURES: dict[str, tuple[float, float, float]] = {
    "code_first": (0.75, 0.25, 0.0),
    "even": (0.5, 0.5, 0.0),
    "wordy": (0.25, 0.5, 0.25),
}
BITS = {"code_first": (1.0, 2.0, 3.0), "even": (1.1, 1.6, 2.7), "wordy": (1.3, 1.5, 1.9)}
STEPS = 40
SEQUENCE, BATCH = 128, 8


class MakeRun(Protocol):
    """Makes a run with its statement."""

    def __call__(self, mixture: str, seed: int, /, **changes: object) -> RunEvidence:
        """Make it; `changes` replace fields, dotted names with `__` for the dot."""


def run_record(mixture: str, seed: int, changes: Mapping[str, object]) -> RunRecord:
    """The record of a finished run of `STEPS` steps."""
    shares = dict(zip(SOURCES, MIXTURES[mixture], strict=True))
    samples = STEPS * BATCH
    bits = dict(zip(SOURCES, BITS[mixture], strict=True))
    noise = {1: 0.0, 2: 0.004}.get(seed, 0.002)
    data: dict[str, Any] = {
        "schema": 1,
        "key": "",
        "build": BUILD.build,
        "spec_name": "trial",
        "mixture": mixture,
        "proxy": "nano",
        "seed": seed,
        "parameters": {"total": 2_089_024, "non_embedding": 1_577_024},
        "architecture": {"layers": 32, "hidden": 64, "ffn": 192, "heads": 4, "kv_heads": 2, "head_dim": 16},
        "dtype": "float32",
        "sequence_length": SEQUENCE,
        "global_batch_size": BATCH,
        "tokens_declared": samples * SEQUENCE,
        "tokens_planned": samples * SEQUENCE,
        "consumed_samples": samples,
        "consumed_tokens": samples * SEQUENCE,
        "steps": STEPS,
        "flops": 10**12,
        "recipe": {"lr": "0.01", "warmup_steps": "2", "decay_steps": "8"},
        "masks": {"document_mask": False, "eod_mask_loss": False, "reset_position_ids": False},
        "rope_base": 10_000,
        "init_from": None,
        "prior_tokens": 0,
        "tokenizer": {"sha256": digest("tokenizer"), "vocab_size": 8_000, "eod_id": 2, "lossless": True},
        "draws": {name: _draw(name) for name, part in shares.items() if part},
        "delivered": {
            name: {
                "samples": round(samples * part),
                "tokens": round(samples * part) * SEQUENCE,
                "epochs": 4 * part,
                "declared": part,
                "planned": round(samples * part) * SEQUENCE,
                "unique_tokens": min(10_240, round(samples * part) * SEQUENCE),
            }
            for name, part in shares.items()
        },
        "phases": [
            {
                "first_sample": 0,
                "samples": samples,
                "samples_of": {name: round(samples * part) for name, part in shares.items() if part},
            }
        ],
        "heldout": {
            name: {
                "loss": 2 * (score + noise),
                "bits_per_byte": score + noise,
                "tokens": 12_500,
                "bytes": 50_000,
                "documents": 50,
                "texts_sha256": digest(name, "texts"),
                "datasets_sha256": digest(name, "tokens"),
            }
            for name, score in bits.items()
        },
        "evaluation": {"protocol": 1, "sequence_length": SEQUENCE},
        "index": {},
        "files": {},
        "status": "done",
        "reason": None,
    }
    for name, value in changes.items():
        at = data
        *path, last = name.split("__")
        for part in path:
            at = at[part]
        at[last] = value
    data["key"] = digest(mixture, seed, sorted(changes.items(), key=str))
    return RunRecord.model_validate(data)


def _draw(name: str) -> dict[str, object]:
    return {
        "key": digest(name, "draw"),
        "documents": 100,
        "tokens": 65_536,
        "bin_sha256": digest(name, "draw bin"),
        "idx_sha256": digest(name, "draw idx"),
        "provenance_sha256": digest(name, "draw provenance"),
    }


def _run(mixture: str, seed: int, /, **changes: object) -> RunEvidence:
    record = run_record(mixture, seed, changes)
    sources = [name for name, share in zip(SOURCES, MIXTURES[mixture], strict=True) if share]
    metrics = tuple(
        StepMetrics(
            step=step,
            samples=step * BATCH,
            tokens=step * BATCH * SEQUENCE,
            loss=3 + 6 * math.exp(-step / 8) + 0.05 * math.sin(step + seed),
            lr=0.01,
            grad_norm=1.0,
            loss_of={name: 3 + place + 6 * math.exp(-step / 8) for place, name in enumerate(sources)},
            targets_of=dict.fromkeys(sources, BATCH * SEQUENCE // len(sources)),
        )
        for step in range(1, STEPS + 1)
    )
    place = f"/store/train/{record.key}/run.json"
    circumstances = {"device": "cpu", "tokens_per_second": 900, "versions": {"torch": "2.13.0"}, "ended": "2026-11-22"}
    return RunEvidence(record, Statement(place, record.to_bytes().decode()), metrics, circumstances)


@pytest.fixture
def make_run() -> MakeRun:
    """Maker of runs of `code_first`, `even` and `wordy`."""
    return _run


def evidence_of(
    runs: list[RunEvidence], across: str | None = None, missing: tuple[Missing, ...] = (), made: Manifest = BUILD
) -> Evidence:
    """Compare runs on the build, and gather what the page shows."""
    comparison = compare(
        [run.record for run in runs],
        None,
        across,
        audits={made.build: True},
        manifests={made.build: made},
    )
    statement = Statement(f"/store/builds/{made.build}/manifest.json", made.to_bytes().decode())
    circumstances = {"versions": {"numpy": "2.4.6"}, "engines": {"sentencepiece": 3}, "started": "2026-11-22"}
    spec = SpecEvidence(
        "trial", Statement("trial specs/trial.yaml", "schema: 1\nname: trial\n"), 1_000_000, ".mixproof"
    )
    return Evidence(
        comparison=comparison,
        specs=(spec,),
        builds=(BuildEvidence(made, statement, circumstances),),
        runs=tuple(runs),
        missing=missing,
        mixproof="0.1.0",
    )


@pytest.fixture
def evidence() -> Evidence:
    """Three mixtures with two seeds each; one run failed, another one is not there."""
    runs = [_run(mixture, seed) for mixture in MIXTURES for seed in (1, 2)]
    runs.append(_run("even", 3, status="failed", reason="the loss is no number at step 7", heldout={}))
    return evidence_of(runs, missing=(Missing("wordy", "nano", 3, "not trained yet"),))


@pytest.fixture
def read_page() -> Callable[[str], Page]:
    """Reader of pages."""
    return Page


@pytest.fixture
def compare_runs() -> Callable[..., Evidence]:
    """Maker of evidence from runs."""
    return evidence_of
