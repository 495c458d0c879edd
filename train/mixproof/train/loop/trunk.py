"""Trunks: the first phases that runs share are trained once.

The state of a run at the end of a phase is determined by seed, shape, recipe, masks, initial weights, warm-up, the
draws of the sources read so far and the phases so far, as long as the decay has not started. The trunk's key hashes
these. A run that reaches such a point keeps its checkpoint there and writes a pointer:

    <store>/trunk/<key>/trunk.json     {"run": <key of the run>, "samples": n}

Another run with the same trunk starts from that checkpoint instead of from its first step. Its record is byte for byte
the record of the same run trained from the start; its index and metrics cover trunk and branch, and E7 to E9 are
checked over both. Only `circumstances.json` says where it branched. A pointer to a run that was deleted or is not
complete is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixproof.ledger.fingerprint import canonical_json, sha256_of, stage_identity
from mixproof.ledger.store import Store
from mixproof.train.checkpoint_files import checkpoint_facts, checkpoint_path
from mixproof.train.record import TRAIN
from mixproof.train.request import TRAIN_VERSION, RunRequest, tokenizer_identity

TRUNK = "trunk"
POINTER = "trunk.json"


@dataclass(frozen=True)
class Trunk:
    """A point of a run from which other runs can branch."""

    key: str
    samples: int
    """Samples consumed at that point."""


@dataclass(frozen=True)
class FoundTrunk:
    """A trunk that has been trained."""

    folder: Path
    """Folder of the run that trained it."""
    samples: int

    @property
    def checkpoint(self) -> Path:
        """Path of its checkpoint."""
        return checkpoint_path(self.folder, self.samples)


def trunks_of(request: RunRequest) -> list[Trunk]:
    """List the trunks of a run, longest first: ends of phases, except the last, before the decay starts."""
    if request.post_training is not None:  # its windows are chosen for the whole run
        return []
    budget = request.budget
    stable = (budget.steps - budget.decay_steps) * budget.global_batch_size
    ends = [phase.first_sample + phase.samples for phase in budget.phases[:-1]]
    return [Trunk(_key(request, number + 1), end) for number, end in enumerate(ends) if end <= stable][::-1]


def publish_trunk(store: Store, request: RunRequest, consumed_samples: int) -> None:
    """Write a pointer to the checkpoint just saved, if it is the end of a trunk."""
    for trunk in trunks_of(request):
        if trunk.samples == consumed_samples:
            pointer = {"run": request.key, "samples": trunk.samples}
            store.write(_pointer(trunk), canonical_json(pointer))


def find_trunk(store: Store, request: RunRequest, dtype: str) -> FoundTrunk | None:
    """Find the longest trunk of a run with a complete checkpoint of the same dtype."""
    for trunk in trunks_of(request):
        path = store.path(_pointer(trunk))
        if not path.is_file():
            continue
        run = _run_named_by(path)
        if run is None:
            continue
        folder = store.fetch(f"{TRAIN}/{run}")
        found = FoundTrunk(folder, trunk.samples)
        facts = checkpoint_facts(found.checkpoint)
        if facts is not None and facts["dtype"] == dtype:
            return found
    return None


def _run_named_by(pointer: Path) -> str | None:
    """The key in a pointer; None if it has none."""
    try:
        run = json.loads(pointer.read_bytes())["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return run if isinstance(run, str) and run else None


def in_waves(requests: Sequence[RunRequest]) -> list[list[RunRequest]]:
    """Group runs into waves so that one run trains each trunk before the others branch from it."""
    waves: list[list[RunRequest]] = []
    remaining = list(requests)
    trained: set[str] = set()
    while remaining:
        claimed: set[str] = set()
        wave: list[RunRequest] = []
        later: list[RunRequest] = []
        for request in remaining:
            keys = {trunk.key for trunk in trunks_of(request)} - trained
            (later if keys & claimed else wave).append(request)
            claimed |= keys if not keys & claimed else set()
        trained |= claimed
        waves.append(wave)
        remaining = later
    return waves


def _key(request: RunRequest, phases: int) -> str:
    """Hash everything that determines the state after the first `phases` phases."""
    budget = request.budget
    first = budget.phases[:phases]
    read = sorted({source for phase in first for source in phase.samples_of})
    streams = sorted({phase.stream_of(source) for phase in first for source in phase.samples_of})
    tokenizer = request.tokenizer
    weights = {} if request.loss_weights is None else {"loss_weights": {s: request.loss_weights[s] for s in read}}
    fim = {source: fim.model_dump(mode="json") for source, fim in (request.fim or {}).items() if source in read}
    config = {
        **request.model_dump(mode="json", include={"seed", "architecture", "recipe", "masks", "rope_base"}),
        **weights,
        **({"fim": fim} if fim else {}),
        "sequence_length": budget.sequence_length,
        "global_batch_size": budget.global_batch_size,
        "warmup_steps": budget.warmup_steps,
        "evaluate_steps": request.evaluate_steps,
        "phases": [replace(phase, declared=None).identity for phase in first],
        "init_from": _start(request),
    }
    inputs = {
        "tokenizer": tokenizer_identity(tokenizer),
        "draws": {name: request.draws[name].record.model_dump(mode="json") for name in streams},
    }
    return sha256_of(stage_identity(TRUNK, TRAIN_VERSION, config, inputs))


def _start(request: RunRequest) -> str | list[str] | None:
    initial = request.init_from
    if initial is None:
        return None
    return [initial.sha256, "optimizer"] if initial.optimizer else initial.sha256


def _pointer(trunk: Trunk) -> str:
    return f"{TRUNK}/{trunk.key}/{POINTER}"
