"""Audit of phases with their own sequence length, rotary base or documents: their account, derived again."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.saved_index import IndexRecord
from mixproof.train.record import RunRecord


def tokens_by_length(run: RunRecord) -> dict[int, int]:
    """Tokens that a run consumed at each sequence length."""
    tokens: Counter[int] = Counter()
    for phase in run.phases:
        consumed = min(max(run.consumed_samples - phase.first_sample, 0), phase.samples)
        tokens[phase.sequence_length or run.sequence_length] += consumed * run.sequence_length
    return dict(tokens)


def check_phase_settings(run: RunRecord, checks: Checks) -> None:
    """Check E8: every phase of a run with an account states its shares, and they sum to 1."""
    has_account = run.phase_accounts is not None
    checks.equal("E8", "phases with an account", len(run.phases) if has_account else 0, len(run.phase_accounts or ()))
    for number, phase in enumerate(run.phases):
        at = checks.at(stage="blend", shard=f"phase {number}")
        own = (phase.sequence_length, phase.rope_base, phase.min_tokens)
        at.true("E8", has_account or own == (None, None, None), "an account of phases of their own", "none")
        at.equal("E8", "a phase that states its shares", has_account, phase.declared is not None)
        if phase.declared is not None:
            at.equal("E8", "as sources with a share", sorted(phase.samples_of), sorted(phase.declared))
            at.equal(
                "E8", "shares that sum to 1", Fraction(1), sum(map(Fraction, phase.declared.values()), Fraction(0))
            )


def check_phase_account(
    run: RunRecord, index: IndexRecord, number: int, consumed: Counter[str], checks: Checks
) -> None:
    """Check E9: the account of a phase, from the samples of each stream that were replayed.

    Args:
        run: the record.
        index: its index.
        number: of the phase.
        consumed: samples of each stream in the phase.
        checks: receives the results.
    """
    if run.phase_accounts is None or not number < min(len(run.phase_accounts), len(run.phases)):
        return
    phase, accounts = run.phases[number], run.phase_accounts[number]
    streams = {stream.name: stream for stream in index.streams}
    checks.equal("E9", "as sources in the account", sorted(phase.samples_of), sorted(accounts))
    for source, account in accounts.items():
        stream = streams.get(phase.stream_of(source))
        if stream is None:
            continue
        at, draw = checks.at(source=source), stream.draw
        length = stream.sequence_length or index.sequence_length
        whole = (stream.dataset_documents, stream.dataset_tokens)
        own = (draw.available_documents, draw.available_tokens)
        available = whole if draw.available_documents is None else own
        at.equal("E9", "available", available, (account.available_documents, account.available_tokens))
        at.equal("E9", "drawn", (draw.documents, draw.tokens), (account.drawn_documents, account.drawn_tokens))
        shared = (draw.shared_documents or 0, draw.shared_tokens or 0)
        at.equal("E9", "also drawn", shared, (account.also_drawn_documents, account.also_drawn_tokens))
        at.equal("E8", "planned", phase.samples_of.get(source, 0) * length, account.planned)
        at.equal("E9", "delivered", consumed[stream.name] * length, account.delivered)
        declared = float(Fraction((phase.declared or {}).get(source, "0")))
        at.equal("E8", "declared", declared, account.declared)
        epochs = consumed[stream.name] / max(stream.windows, 1) * draw.tokens / max(account.available_tokens, 1)
        same = math.isclose(epochs, account.epochs, rel_tol=1e-12)
        at.true("E9", same, f"{epochs} epochs of the phase", str(account.epochs))
