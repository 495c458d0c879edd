"""Audit of what a record states of each source, with the numbers of `index.json`: no array is opened."""

from __future__ import annotations

import math
from collections import Counter

from mixproof.tokenize.audit.report import Checks
from mixproof.train.data.saved_index import IndexRecord
from mixproof.train.record import RunRecord

from .index import audit_of


def check_delivered(run: RunRecord, index: IndexRecord, checks: Checks) -> None:
    """Check tokens, epochs and unique tokens of each source, from the windows of draw and dataset."""
    planned: Counter[str] = Counter()
    for phase in index.phases:
        planned.update(dict(zip(phase.names, phase.samples_of, strict=False)))
    for source, delivered in run.delivered.items():
        at = checks.at(source=source, stage="train")
        streams = [stream for stream in index.streams if stream.source == source]
        if not all(stream.dataset_tokens > index.length_of(stream) for stream in streams) or not streams:
            at.equal("E9", "samples of a source without a stream", 0, delivered.samples)
            continue
        tokens = sum(planned[stream.name] * index.length_of(stream) for stream in streams)
        at.equal("E9", "tokens of its streams", tokens, delivered.tokens)
        at.true("E9", (delivered.targets or 0) <= tokens, f"at most {tokens} targets", str(delivered.targets))
        counts = [audit_of(run, index, stream).counts_of(planned[stream.name]) for stream in streams]
        for stream in streams:
            if stream.draw.cut_tokens is not None:
                at.equal("E6", "tokens of the cut source", stream.draw.tokens, stream.dataset_tokens)
        known = [count for count in counts if count is not None]
        if len(known) == len(counts):
            epochs = sum(count.epochs for count in known)
            at.true("E9", math.isclose(epochs, delivered.epochs), f"{epochs} epochs", str(delivered.epochs))
            unique = sum(count.unique_tokens for count in known)
            at.equal("E9", "unique tokens", unique, delivered.unique_tokens)
