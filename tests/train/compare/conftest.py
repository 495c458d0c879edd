"""Records of runs as training would leave them, with whatever a test wants to be different."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import pytest

from mixproof.train.record import RunRecord


class MakeRun(Protocol):
    """Makes the record of a finished run."""

    def __call__(self, mixture: str, seed: int, bits_per_byte: Mapping[str, float], **changes: object) -> RunRecord:
        """Make it; `changes` replace fields, dotted names with `__` for the dot."""


def _run(mixture: str, seed: int, bits_per_byte: Mapping[str, float], **changes: object) -> RunRecord:
    english = {"even": 0.5, "wordy": 0.75}.get(mixture, 0.25)
    data: dict[str, Any] = {
        "schema": 1,
        "key": "",
        "build": "b" * 64,
        "spec_name": "trial",
        "mixture": mixture,
        "proxy": "nano",
        "seed": seed,
        "parameters": {"total": 3_625_024, "non_embedding": 1_577_024},
        "architecture": {"layers": 32, "hidden": 64, "ffn": 192, "heads": 4, "kv_heads": 2, "head_dim": 16},
        "dtype": "float32",
        "sequence_length": 128,
        "global_batch_size": 8,
        "tokens_declared": 10_000,
        "tokens_planned": 10_240,
        "consumed_samples": 80,
        "consumed_tokens": 10_240,
        "steps": 10,
        "flops": 10**12,
        "recipe": {"lr": "3/1000", "warmup_steps": "1", "decay_steps": "2"},
        "masks": {"document_mask": False, "eod_mask_loss": False, "reset_position_ids": False},
        "rope_base": 10_000,
        "init_from": None,
        "prior_tokens": 0,
        "tokenizer": {"sha256": "7" * 64, "vocab_size": 32_000, "eod_id": 2, "lossless": True},
        "draws": {},
        "delivered": {
            name: {
                "samples": round(80 * share),
                "tokens": round(10_240 * share),
                "epochs": 2 * share,
                "declared": share,
                "planned": round(10_240 * share),
                "unique_tokens": 5_000,
            }
            for name, share in (("english", english), ("code", 1 - english))
        },
        "phases": [{"first_sample": 0, "samples": 80, "samples_of": {"english": round(80 * english)}}],
        "heldout": {
            name: {
                "loss": 4 * bits,
                "bits_per_byte": bits,
                "tokens": {"english": 3000, "code": 1000}.get(name, 2000),
                "bytes": 8000,
                "documents": 2,
                "texts_sha256": f"texts of {name}",
                "datasets_sha256": f"tokens of {name}",
            }
            for name, bits in bits_per_byte.items()
        },
        "evaluation": {"protocol": 1, "sequence_length": 128},
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
    data["key"] = hashlib.sha256(repr((data, sorted(changes.items(), key=str))).encode()).hexdigest()
    return RunRecord.model_validate(data)


@pytest.fixture
def make_run() -> MakeRun:
    """Maker of records: mixtures `even` (half English), `wordy` (three quarters) and others (a quarter)."""
    return _run
