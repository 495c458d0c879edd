"""One training step: micro batches, gradient accumulation, clipping, optimizer, schedule.

The loss of a step is the mean over all targets of the global batch: each micro batch adds its summed loss divided by
the global number of targets, so the loss depends neither on the micro batch size nor on the number of ranks. Rank r of
n takes the r-th of n slices of the batch, and the gradients are summed over the ranks once per step
(`distributed.py`). Float32 on CPU; on CUDA the forward pass runs under bfloat16 autocast and the weights stay float32.

Steps are counted in samples, never by the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from mixproof.ledger.errors import TrainingError
from mixproof.train.data.blend import Blend
from mixproof.train.distributed import Ranks, sum_gradients
from mixproof.train.model.micro_batch import FIELDS, Batch, StepPlan
from mixproof.train.model.optimizer import parameters_of
from mixproof.train.model.state import TrainingState
from mixproof.train.post_training.objective import Objective, TokenObjective

from .metrics import StepMetrics
from .source_losses import SourceLosses


class Trainer:
    """Trains a run's state on its samples, one step at a time."""

    def __init__(
        self, state: TrainingState, blend: Blend, plan: StepPlan, ranks: Ranks, objective: Objective | None = None
    ) -> None:
        """Continue from `state` in the phase of `plan`; `blend` has the samples of the whole run in order."""
        self.state, self._blend, self._plan, self._ranks = state, blend, plan, ranks
        self._objective = objective or TokenObjective()
        self._parameters = parameters_of(state.optimizer)
        self._learner = state.learner or state.model
        self._learner.train()
        self._in_bfloat16 = state.dtype == "bfloat16"

    def enter_phase(self, plan: StepPlan) -> None:
        """Take the steps of another phase from now on."""
        self._plan = plan

    def step(self) -> StepMetrics:
        """Train on the next global batch.

        Raises:
            TrainingError: when the loss or the gradient is NaN or infinite; the weights are not changed.
        """
        state, plan = self.state, self._plan
        first = state.consumed_samples
        by_source = SourceLosses(self._blend.sources, self._ranks.device)
        loss = self._accumulate(first, by_source)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, plan.clip))
        number = first // plan.samples_per_step + 1
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {number}, samples {first} to {first + plan.samples_per_step - 1}: the loss is {loss} and the "
                f"gradient norm is {norm}; try a lower learning rate, a longer warm-up or a smaller clip"
            )
        lr = float(state.optimizer.param_groups[0]["lr"])
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.scheduler.step(plan.samples_per_step)
        state.consumed_samples += plan.samples_per_step
        loss_of, targets_of = by_source.means(self._ranks)
        return StepMetrics(
            step=number,
            samples=state.consumed_samples,
            tokens=number * plan.global_batch_size * plan.sequence_length,
            loss=loss,
            lr=lr,
            grad_norm=norm,
            loss_of=loss_of,
            targets_of=targets_of,
        )

    def _accumulate(self, first: int, by_source: SourceLosses) -> float:
        """Compute the gradients of the global batch that starts at sample `first`; return its mean loss."""
        ranks = self._ranks
        batches = list(self._micro_batches(first))
        units = torch.stack([self._objective.units(batch) for batch in batches]).sum()
        ranks.sum(units)
        units = units.where(units != 0, 1)  # a batch of answers that nobody rated has none
        loss_sum = torch.zeros((), dtype=torch.float64, device=ranks.device)
        for batch in batches:
            part = self._objective.loss(self._learner, batch, self._plan, in_bfloat16=self._in_bfloat16)
            torch.autograd.backward(part.to_minimize * (1 / units).float())
            loss_sum += part.value
            by_source.add(batch["source"], part.losses, part.counts)
        sum_gradients(self._parameters, ranks)
        ranks.sum(loss_sum)
        return float(loss_sum / units)

    def _micro_batches(self, first: int) -> Iterator[Batch]:
        """Yield the micro batches of this rank's slice of the step that starts at `first` consumed samples."""
        plan, ranks = self._plan, self._ranks
        per_rank = plan.global_batch_size // ranks.size
        start = self._blend.batch_at(first).start + ranks.rank * per_rank
        for begin in range(start, start + per_rank, plan.micro_batch_size):
            end = min(begin + plan.micro_batch_size, start + per_rank)
            samples = [self._blend[sample] for sample in range(begin, end)]
            yield {
                name: torch.stack([torch.as_tensor(sample[name]) for sample in samples]).to(ranks.device)
                for name in (*FIELDS, *(("values",) if "values" in samples[0] else ()))
            }
