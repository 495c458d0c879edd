"""A plan: what a spec needs, what is finished, and what the rest costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixproof.cli.plan_checks import (
    uses_above_caps,
)
from mixproof.cli.plan_cost import (
    wholes,
)
from mixproof.cli.request import Request
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.caps import Use
from mixproof.pipeline.heldout.heldout_size import HeldoutSize
from mixproof.pipeline.read.progress import ReadProgress
from mixproof.train.launch.cost import ProxyCost, Rate
from mixproof.train.launch.disk import build_bytes, dataset_bytes
from mixproof.train.launch.long_documents import PhaseUse

Pair = tuple[str, str]
"""Mixture and proxy."""


@dataclass(frozen=True)
class Planned:
    """Everything that `plan` knows of a spec."""

    request: Request
    tokens_of: Mapping[str, int]
    """Training tokens by source; estimates if there is no build."""
    manifest: Manifest | None
    budgets: Mapping[Pair, RunBudget]
    reading: ReadProgress | None
    """None if there is a build."""
    finished: Mapping[Pair, int]
    """Number of finished runs by mixture and proxy."""
    documents: Rate | None
    costs: tuple[ProxyCost, ...]
    vocab_size: int
    growing_heldout: tuple[HeldoutSize, ...] = ()
    """Held-out sets that a build would make much larger than requested, by an estimate. Empty if there is a build."""
    long_documents: tuple[PhaseUse, ...] = ()
    """What phases with `min_tokens` read of documents of this length. Empty if there is no build."""

    @property
    def uses_above_caps(self) -> tuple[Use, ...]:
        """Epochs above a cap by the estimate; a build may still satisfy the cap. Empty if there is a build."""
        return () if self.manifest is not None else uses_above_caps(self.request.spec, self.budgets, self.tokens_of)

    @property
    def to_train(self) -> int:
        """Number of runs that `train` would train."""
        return sum(cost.runs for cost in self.costs)

    @property
    def bytes_to_store(self) -> dict[str, int]:
        """Bytes by what they are for: of the build, of the draws (at most), and of the checkpoints."""
        reach: dict[str, int] = {}
        for budget in self.budgets.values() if self.to_train else ():
            for name, tokens in budget.tokens_of.items():
                need = min(tokens + 1, self.tokens_of[name])
                reach[name] = max(reach.get(name, 0), need)
        spec, files = self.request.spec, self.request.files()
        built = {"datasets": 0} if self.manifest else build_bytes(spec, self.tokens_of, self.vocab_size, files)
        return {
            **built,
            "draws": dataset_bytes(sum(reach.values()), self.vocab_size),
            "checkpoints": sum(cost.checkpoint_bytes for cost in self.costs),
        }

    @property
    def core_hours(self) -> float | None:
        """Hours of one core that the build needs; None if its rate is unknown."""
        if self.manifest is not None:
            return 0.0
        size = sum(found.bytes for found in wholes(self.request))
        return None if self.documents is None else size / self.documents.amount / 3600
