"""The held-out scores of a run: every set is scored by the last state, and E10 is checked meanwhile."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.records.datasets import HeldoutRecord
from mixproof.ledger.store import Store, publish
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.train.distributed import Ranks
from mixproof.train.evaluate.divergence import interval_over_prompts
from mixproof.train.evaluate.evaluate import Scores, evaluate, write_scores
from mixproof.train.evaluate.heldout_parts import is_lossless, read_heldout
from mixproof.train.evaluate.implicit_rewards import with_reference
from mixproof.train.evaluate.references import References
from mixproof.train.evaluate.reward_scores import reward_scores
from mixproof.train.model.state import TrainingState
from mixproof.train.ownership import Ownership
from mixproof.train.request import RunRequest, checksums_of
from mixproof.train.score_record import HeldoutScore, PairScore

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


def score_record(score: Scores, heldout: HeldoutRecord) -> HeldoutScore:
    """The record of a set's scores; `heldout` is the set in the manifest."""
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
