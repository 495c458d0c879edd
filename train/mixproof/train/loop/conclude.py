"""The end of a run: replay what was delivered, and make the record.

E9 is checked twice: the replay of the saved index sums to the checkpoint's consumed samples, and a finished run
delivered exactly the planned samples of each source.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.train.checkpoint_files import checkpoint_files, checkpoint_path
from mixproof.train.data.blend import Blend
from mixproof.train.data.delivered import delivered
from mixproof.train.data.phase_account import phase_accounts
from mixproof.train.data.saved_index import INDEX_FOLDER
from mixproof.train.delivered_record import DeliveredRecord, PhaseRecord
from mixproof.train.evaluate.evaluate import Scores
from mixproof.train.model.state import TrainingState
from mixproof.train.proxies import count_parameters, flops_of_tokens
from mixproof.train.record import EVALUATION_PROTOCOL, ParametersRecord, RunRecord, RunTokenizer
from mixproof.train.request import RunRequest
from mixproof.train.score_record import EvaluationRecord

from .evaluations import EVALUATIONS
from .heldout_scores import SCORES, score_record
from .incidents import INCIDENTS
from .metrics import METRICS
from .supervised_account import check_planned, planned_tokens, supervised_counts


@dataclass(frozen=True)
class RunEnd:
    """How a run ended, and what it left in its folder."""

    folder: Path
    """Of the run, with its index."""
    index: dict[str, str]
    """SHA-256 of each index array, by name."""
    scores: list[Scores]
    """Of the held-out sets; none if the run failed."""
    lossless: bool
    """Whether the tokenizer restores every held-out text."""
    references: dict[str, str]
    """SHA-256 of the reference log-probabilities, by path in the store."""
    reason: str | None
    """Why the run failed; None: it is done."""


def make_record(request: RunRequest, state: TrainingState, end: RunEnd) -> RunRecord:
    """Make the record of a run from its files; `state` is that after the last step.

    Raises:
        AccountError: when E9 does not close.
    """
    budget, vocab_size = request.budget, request.tokenizer.vocab_size
    parameters = count_parameters(request.shape, vocab_size)
    by_length = budget.tokens_by_length(state.consumed_samples)
    phases = tuple(PhaseRecord(**asdict(phase)) for phase in budget.phases)
    index_folder = end.folder / INDEX_FOLDER
    accounts = phase_accounts(index_folder, phases, state.consumed_samples) if budget.has_own_phases else None
    return RunRecord(
        key=request.key,
        build=request.build,
        spec_name=request.spec_name,
        mixture=request.mixture,
        proxy=request.proxy,
        seed=request.seed,
        parameters=ParametersRecord(total=parameters.total, non_embedding=parameters.non_embedding),
        architecture=request.architecture,
        dtype=state.dtype,
        sequence_length=budget.sequence_length,
        global_batch_size=budget.global_batch_size,
        tokens_declared=budget.tokens_declared,
        tokens_planned=budget.tokens_planned,
        consumed_samples=state.consumed_samples,
        consumed_tokens=state.consumed_samples * budget.sequence_length,
        steps=state.consumed_samples // budget.global_batch_size,
        flops=flops_of_tokens(request.shape, vocab_size, by_length),
        recipe=_recipe(request),
        masks=request.masks,
        rope_base=request.rope_base,
        post_training=request.post_training,
        references=end.references or None,
        loss_weights=request.loss_weights,
        fim=request.fim,
        init_from=request.init_from.record if request.init_from else None,
        prior_tokens=request.init_from.prior_tokens if request.init_from else 0,
        tokenizer=_tokenizer(request, lossless=end.lossless),
        draws={source: draw.record for source, draw in request.draws.items()},
        delivered=_delivered(request, end.folder, state.consumed_samples),
        phases=phases,
        phase_accounts=accounts,
        heldout={
            score.documents.source: score_record(score, request.heldout[score.documents.source]) for score in end.scores
        },
        evaluation=EvaluationRecord(protocol=EVALUATION_PROTOCOL, sequence_length=budget.sequence_length),
        index={f"{INDEX_FOLDER}/{name}": sha256 for name, sha256 in end.index.items()},
        files=_files(end.folder, state.consumed_samples),
        status="done" if end.reason is None else "failed",
        reason=end.reason,
    )


def save_index(blend: Blend, folder: Path) -> dict[str, str]:
    """Write the arrays from which the run can be replayed; return their SHA-256 by name."""
    return blend.save_index(folder / INDEX_FOLDER)


def _tokenizer(request: RunRequest, *, lossless: bool) -> RunTokenizer:
    tokenizer = request.tokenizer
    return RunTokenizer(
        sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eod_id=tokenizer.eod_id,
        bos_id=tokenizer.bos_id,
        lossless=lossless,
    )


def _recipe(request: RunRequest) -> dict[str, str]:
    recipe, budget = request.recipe, request.budget
    return {
        "lr": recipe.lr,
        "min_lr": recipe.min_lr,
        "warmup_steps": str(budget.warmup_steps),
        "decay_steps": str(budget.decay_steps),
        "shape": recipe.shape,
        "weight_decay": recipe.weight_decay,
        "clip": recipe.clip,
        "betas": " ".join(recipe.betas),
        **({} if recipe.mup_base_hidden is None else {"mup_base_hidden": recipe.mup_base_hidden}),
        **({} if recipe.mup_output is None else {"mup_output": recipe.mup_output}),
    }


def _delivered(request: RunRequest, folder: Path, consumed_samples: int) -> dict[str, DeliveredRecord]:
    budget = request.budget
    replayed = delivered(folder / INDEX_FOLDER, consumed_samples)
    found = {source: consumed.samples for source, consumed in replayed.items()}
    if consumed_samples == budget.samples and found != budget.samples_of:
        raise AccountError("E9", budget.samples_of, found, stage="train", unit=request.key)
    if request.post_training is not None and consumed_samples == budget.samples:
        check_planned(request.post_training, replayed, unit=request.key)
    return {
        source: DeliveredRecord(
            samples=consumed.samples,
            tokens=consumed.tokens,
            epochs=consumed.epochs,
            declared=float(budget.declared[source]),
            planned=planned_tokens(request, source),
            unique_tokens=consumed.unique_tokens,
            targets=consumed.targets if request.masks.eod_mask_loss or request.masks.best_fit else None,
            fim=consumed.fim,
            **({} if request.post_training is None else supervised_counts(consumed)),
        )
        for source, consumed in replayed.items()
    }


def _files(folder: Path, consumed_samples: int) -> dict[str, str]:
    """Return the SHA-256 of the last checkpoint's files, metrics, scores and incidents, by path in the run's folder."""
    checkpoint = checkpoint_path(folder, consumed_samples)
    files = {
        f"{checkpoint.relative_to(folder).as_posix()}/{name}": sha256
        for name, sha256 in (checkpoint_files(checkpoint) or {}).items()
    }
    for name in (METRICS, SCORES, EVALUATIONS, INCIDENTS):
        if (folder / name).is_file():
            files[name] = sha256_of_file(folder / name)
    return files
