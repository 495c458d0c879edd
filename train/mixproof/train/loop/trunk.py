"""Trunks: what the first phases of a run have in common with other runs is trained once.

A run is determined by its identity, and so is its state at the end of a phase: by seed, shape, recipe, masks, initial
weights, warm-up, the draws of the sources read so far, and the phases so far, as long as the decay has not begun. These
are hashed to the trunk's key. A run that gets to such a point keeps its checkpoint there and leaves a pointer:

    <store>/trunk/<key>/trunk.json     {"run": <key of the run>, "samples": n}

Another run with the same trunk goes on from that checkpoint instead of from its first step. Its record is byte for byte
that of the same run trained whole, its index and its metrics hold trunk and branch, and E7 to E9 are checked over both;
only `circumstances.json` says where it branched. A pointer to a run that is gone or not whole is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mixproof.ledger.fingerprint import canonical_json, sha256_of, stage_identity
from mixproof.ledger.store import Store
from mixproof.train.checkpoint_files import checkpoint_facts, checkpoint_path
from mixproof.train.record import TRAIN
from mixproof.train.request import TRAIN_VERSION, RunRequest

TRUNK = "trunk"
POINTER = "trunk.json"


@dataclass(frozen=True)
class Trunk:
    """A point of a run that other runs can go on from."""

    key: str
    samples: int
    """Consumed at that point."""


@dataclass(frozen=True)
class FoundTrunk:
    """A trunk that was trained, and where."""

    folder: Path
    """Of the run that trained it."""
    samples: int

    @property
    def checkpoint(self) -> Path:
        """Its checkpoint."""
        return checkpoint_path(self.folder, self.samples)


def trunks_of(request: RunRequest) -> list[Trunk]:
    """The ends of phases of a run, but the last, at which its decay has not begun; longest first."""
    budget = request.budget
    stable = (budget.steps - budget.decay_steps) * budget.global_batch_size
    ends = [phase.first_sample + phase.samples for phase in budget.phases[:-1]]
    return [Trunk(_key(request, number + 1), end) for number, end in enumerate(ends) if end <= stable][::-1]


def leave_trunk(request: RunRequest, consumed_samples: int) -> None:
    """Point to the checkpoint that `request` has just written, where it is the end of a trunk."""
    for trunk in trunks_of(request):
        if trunk.samples == consumed_samples:
            pointer = {"run": request.key, "samples": trunk.samples}
            Store(request.store).write(_pointer(trunk), canonical_json(pointer))


def find_trunk(request: RunRequest, dtype: str) -> FoundTrunk | None:
    """The longest trunk of a run that is there, whole, and was trained in the same arithmetic."""
    store = Store(request.store)
    for trunk in trunks_of(request):
        path = store.path(_pointer(trunk))
        if not path.is_file():
            continue
        folder = store.fetch(f"{TRAIN}/{json.loads(path.read_bytes())['run']}")
        found = FoundTrunk(folder, trunk.samples)
        facts = checkpoint_facts(found.checkpoint)
        if facts is not None and facts["dtype"] == dtype:
            return found
    return None


def in_waves(requests: Sequence[RunRequest]) -> list[list[RunRequest]]:
    """Order runs so that a trunk is trained by one of them, before the others go on from it."""
    waves: list[list[RunRequest]] = []
    left = list(requests)
    made: set[str] = set()
    while left:
        claimed: set[str] = set()
        wave: list[RunRequest] = []
        later: list[RunRequest] = []
        for request in left:
            keys = {trunk.key for trunk in trunks_of(request)} - made
            (later if keys & claimed else wave).append(request)
            claimed |= keys if not keys & claimed else set()
        made |= claimed
        waves.append(wave)
        left = later
    return waves


def _key(request: RunRequest, phases: int) -> str:
    """Hash everything that the state after the first `phases` phases depends on."""
    budget = request.budget
    first = budget.phases[:phases]
    read = sorted({source for phase in first for source in phase.samples_of})
    tokenizer = request.tokenizer
    config = {
        **request.model_dump(mode="json", include={"seed", "architecture", "recipe", "masks", "rope_base"}),
        "sequence_length": budget.sequence_length,
        "global_batch_size": budget.global_batch_size,
        "warmup_steps": budget.warmup_steps,
        "evaluate_steps": request.evaluate_steps,
        "phases": [asdict(phase) for phase in first],
        "init_from": _start(request),
    }
    inputs = {
        "tokenizer": [tokenizer.sha256, tokenizer.vocab_size, tokenizer.eod_id],
        "draws": {source: request.draws[source].record.model_dump(mode="json") for source in read},
    }
    return sha256_of(stage_identity(TRUNK, TRAIN_VERSION, config, inputs))


def _start(request: RunRequest) -> str | list[str] | None:
    initial = request.init_from
    if initial is None:
        return None
    return [initial.sha256, "optimizer"] if initial.optimizer else initial.sha256


def _pointer(trunk: Trunk) -> str:
    return f"{TRUNK}/{trunk.key}/{POINTER}"
