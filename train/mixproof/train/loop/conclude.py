"""The end of a run: score the held-out sets, replay what was delivered, make the record.

E9 is checked twice: the replay of the saved index sums to the checkpoint's consumed samples, and a finished run
delivered exactly the planned samples of each source. E10 is checked as the sets are scored.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from mixproof.ledger.errors import AccountError
from mixproof.ledger.fingerprint import sha256_of, sha256_of_file
from mixproof.ledger.records.datasets import HeldoutRecord
from mixproof.ledger.store import Store, publish
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.train.checkpoint_files import checkpoint_files, checkpoint_path
from mixproof.train.data.blend import Blend
from mixproof.train.data.delivered import delivered
from mixproof.train.data.phase_account import phase_accounts
from mixproof.train.data.saved_index import INDEX_FOLDER
from mixproof.train.delivered_record import DeliveredRecord, PhaseRecord
from mixproof.train.distributed import Ranks
from mixproof.train.evaluate.divergence import interval_over_prompts
from mixproof.train.evaluate.evaluate import Scores, evaluate, write_scores
from mixproof.train.evaluate.heldout_parts import is_lossless, read_heldout
from mixproof.train.evaluate.implicit_rewards import with_reference
from mixproof.train.evaluate.references import References
from mixproof.train.evaluate.reward_scores import reward_scores
from mixproof.train.model.state import TrainingState
from mixproof.train.ownership import Ownership
from mixproof.train.proxies import count_parameters, flops_of_tokens
from mixproof.train.record import EVALUATION_PROTOCOL, ParametersRecord, RunRecord, RunTokenizer
from mixproof.train.request import RunRequest, checksums_of
from mixproof.train.score_record import EvaluationRecord, HeldoutScore, PairScore

from .evaluations import EVALUATIONS
from .incidents import INCIDENTS
from .metrics import METRICS
from .supervised_account import check_planned, planned_tokens, supervised_counts

SCORES = "scores.parquet"


def score_heldout(
    store: Store, request: RunRequest, state: TrainingState, ranks: Ranks, references: References
) -> tuple[list[Scores], bool]:
    """Score every held-out set, on all ranks together.

    Returns:
        The scores, sorted by source, and whether the tokenizer restores every held-out text.

    Raises:
        AccountError: when E10 does not close.
        DamagedFileError: when a set differs from the manifest.
    """
    tokenizer = request.tokenizer
    reference = load_reference(str(store.path(tokenizer.path)))
    scores, lossless = [], True
    for source, heldout in sorted(request.heldout.items()):
        decode = None if request.post_training is None else reference.decode
        documents = read_heldout(store, source, heldout, tokenizer.eod_id, supervised_by=decode)
        lossless = lossless and is_lossless(documents, reference.decode, before=tokenizer.around - 1)
        reward = None if request.post_training is None else request.post_training.reward
        if reward is not None:
            scores.append(reward_scores(state.model, documents, reward, eod_id=tokenizer.eod_id, ranks=ranks))
            continue
        score = evaluate(
            state.model,
            documents,
            eod_id=tokenizer.eod_id,
            sequence_length=request.budget.sequence_length,
            device=ranks.device,
        )
        scores.append(with_reference(score, request, state.model, references, ranks))
    return scores, lossless


def save_scores(folder: Path, scores: list[Scores], ownership: Ownership) -> None:
    """Publish the per-document losses into the run's folder."""
    if not scores:
        return
    scratch = folder / f".{SCORES}.{ownership.name}"
    write_scores(scratch, scores)
    ownership.check()
    publish(scratch, folder / SCORES)


def make_record(
    request: RunRequest,
    state: TrainingState,
    *,
    folder: Path,
    index: dict[str, str],
    scores: list[Scores],
    lossless: bool,
    references: dict[str, str] | None = None,
    reason: str | None = None,
) -> RunRecord:
    """Make the record of a run from its files.

    Args:
        request: the run.
        state: after the last step.
        folder: of the run, with its index.
        index: SHA-256 of each index array, by name.
        scores: of the held-out sets; none if the run failed.
        lossless: whether the tokenizer restores every held-out text.
        references: SHA-256 of the reference log-probabilities, by path in the store.
        reason: why the run failed; None: it is done.

    Raises:
        AccountError: when E9 does not close.
    """
    budget, tokenizer = request.budget, request.tokenizer
    parameters = count_parameters(request.shape, tokenizer.vocab_size)
    consumed_tokens = state.consumed_samples * budget.sequence_length
    by_length = budget.tokens_by_length(state.consumed_samples)
    phases = tuple(PhaseRecord(**asdict(phase)) for phase in budget.phases)
    accounts = phase_accounts(folder / INDEX_FOLDER, phases, state.consumed_samples) if budget.has_own_phases else None
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
        consumed_tokens=consumed_tokens,
        steps=state.consumed_samples // budget.global_batch_size,
        flops=flops_of_tokens(request.shape, tokenizer.vocab_size, by_length),
        recipe=_recipe(request),
        masks=request.masks,
        rope_base=request.rope_base,
        post_training=request.post_training,
        references=references or None,
        loss_weights=request.loss_weights,
        fim=request.fim,
        init_from=request.init_from.record if request.init_from else None,
        prior_tokens=request.init_from.prior_tokens if request.init_from else 0,
        tokenizer=RunTokenizer(
            sha256=tokenizer.sha256,
            vocab_size=tokenizer.vocab_size,
            eod_id=tokenizer.eod_id,
            bos_id=tokenizer.bos_id,
            lossless=lossless,
        ),
        draws={source: draw.record for source, draw in request.draws.items()},
        delivered=_delivered(request, folder, state.consumed_samples),
        phases=phases,
        phase_accounts=accounts,
        heldout={score.documents.source: _score(score, request.heldout[score.documents.source]) for score in scores},
        evaluation=EvaluationRecord(protocol=EVALUATION_PROTOCOL, sequence_length=budget.sequence_length),
        index={f"{INDEX_FOLDER}/{name}": sha256 for name, sha256 in index.items()},
        files=_files(folder, state.consumed_samples),
        status="done" if reason is None else "failed",
        reason=reason,
    )


def save_index(blend: Blend, folder: Path) -> dict[str, str]:
    """Write the arrays from which the run can be replayed; return their SHA-256 by name."""
    return blend.save_index(folder / INDEX_FOLDER)


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


def _score(score: Scores, heldout: HeldoutRecord) -> HeldoutScore:
    parts = [checksums_of(part) for part in heldout.datasets]
    documents = score.documents
    texts = hashlib.sha256("\n".join(documents.text_xxh128).encode()).hexdigest()
    kl, interval = _divergence(score)
    return HeldoutScore(
        loss=score.loss,
        answers=True if documents.answer_bytes is not None and score.units is None else None,
        bits_per_byte=score.bits_per_byte,
        tokens=score.tokens,
        bytes=score.text_bytes,
        pairs=_pairs(score),
        kl=kl if score.pairs is None else None,
        kl_interval=interval if score.pairs is None else None,
        attributes=None if score.attributes is None else score.attributes.scores(),
        documents=len(documents.file),
        texts_sha256=heldout.texts.sha256 if heldout.texts is not None else texts,
        datasets_sha256=sha256_of(parts),
    )


def _pairs(score: Scores) -> PairScore | None:
    terms = score.pairs
    if terms is None:
        return None
    kl, interval = _divergence(score)
    of_model = score.units is not None
    bins = terms.reliability() if of_model else None
    gaps = [one.pairs * abs(one.accuracy - one.confidence) for one in bins or ()]
    return PairScore(
        pairs=len(terms.differences),
        pair_accuracy=terms.accuracy,
        margin=terms.margin,
        kl=kl,
        kl_interval=interval,
        calibration_error=sum(gaps) / len(terms.differences) if of_model else None,
        reliability=bins,
    )


def _divergence(score: Scores) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    """Return the divergence from the start and its interval, of pairs at the tokens of the chosen answers."""
    if score.kl_nats is None:
        return None, None
    prompts, step = score.documents.prompts, 1 if score.pairs is None else 2
    assert prompts is not None, "conversations have prompts"
    interval = interval_over_prompts(score.kl_nats[::step], score.documents.targets[::step], prompts[::step])
    return float(score.kl_nats.sum()) / score.tokens, interval


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
