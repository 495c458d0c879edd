"""The tokenizer, the held-out sets and decontamination, in the order that keeps held-out text out of the tokenizer.

A tokenizer that the build trains never sees held-out text: documents are reserved for the held-out sets before it is
trained, or, if the sets are imported, documents that overlap with them are removed first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import StageRow
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.pipeline.bitmap import KeepBitmaps
from mixproof.pipeline.heldout.create_heldout import create_heldout
from mixproof.pipeline.heldout.decontaminate import Decontaminated, decontaminate
from mixproof.pipeline.heldout.evaluation import EvaluationFile
from mixproof.pipeline.heldout.heldout_set import Heldout
from mixproof.pipeline.heldout.import_heldout import import_heldout
from mixproof.pipeline.heldout.reserve import reserve_heldout
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.selection import Selection

from .compose_manifest import refuse_empty
from .job import Job
from .shard_tokens import texts_of
from .tokenizer.tokenizer import TokenCounter, given_tokenizer, store_given_tokenizer
from .tokenizer.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class HeldOut:
    """The tokenizer of a build, its held-out sets, and what decontamination left of its training documents."""

    tokenizer: TokenizerRecord
    heldout: Heldout
    clean: Decontaminated


def hold_out(
    job: Job, selection: Selection, rows: Mapping[str, Sequence[StageRow]], against: Sequence[EvaluationFile]
) -> HeldOut:
    """Make the tokenizer and the held-out sets, and decontaminate the training documents.

    Args:
        job: the build.
        selection: the documents that deduplication and division kept.
        rows: each source's ledger so far.
        against: the evaluation files.

    Raises:
        RequestError: when held-out sets cannot be made, or a source has no documents left.
    """
    if job.spec.heldout.from_ is not None:
        return _import_then_tokenizer(job, selection, rows, against)
    return _tokenizer_then_create(job, selection, against)


def _tokenizer_then_create(job: Job, selection: Selection, against: Sequence[EvaluationFile]) -> HeldOut:
    """Make the tokenizer, then the held-out sets, whose size is given in tokens.

    A tokenizer is trained only on documents that cannot be in a held-out set.
    """
    reserve = None
    with job.clock.time("tokenizer"):
        if job.spec.tokenizer.train is not None:
            reserve = reserve_heldout(selection)
        seen = selection.keep if reserve is None else reserve.tokenizer_train
        tokenizer = _make_tokenizer(job, selection.sources, seen)
    with job.clock.time("heldout"):
        heldout = create_heldout(
            selection,
            TokenCounter(job.store, tokenizer.path, tokenizer.around),
            tokenizer_sha256=tokenizer.sha256 if tokenizer.bos_id is None else f"{tokenizer.sha256} with a BOS",
            reserve=reserve,
        )
    return HeldOut(tokenizer, heldout, _decontaminate(job, selection, heldout, against))


def _import_then_tokenizer(
    job: Job, selection: Selection, rows: Mapping[str, Sequence[StageRow]], against: Sequence[EvaluationFile]
) -> HeldOut:
    """Import the held-out sets, remove documents that overlap with them, then make the tokenizer.

    If the spec turns decontamination off, overlapping documents are still kept out of the tokenizer's training.
    """
    with job.clock.time("heldout"):
        heldout = import_heldout(selection, job.loaded.base)
    clean = _decontaminate(job, selection, heldout, against)
    seen = clean.train
    if job.spec.tokenizer.train is not None and job.spec.decontaminate is False:
        defaults = job.spec.model_copy(update={"decontaminate": Decontaminate()})
        with job.clock.time("tokenizer"):
            seen = decontaminate(replace(selection, spec=defaults), heldout, ()).train
    for name, row in clean.rows.items():
        refuse_empty(name, [*rows[name], row])
    with job.clock.time("tokenizer"):
        return HeldOut(_make_tokenizer(job, selection.sources, seen), heldout, clean)


def _decontaminate(
    job: Job, selection: Selection, heldout: Heldout, against: Sequence[EvaluationFile]
) -> Decontaminated:
    with job.clock.time("decontaminate"):
        return decontaminate(selection, heldout, against)


def _make_tokenizer(job: Job, sources: Mapping[str, SourceDocuments], keep: KeepBitmaps) -> TokenizerRecord:
    """Store the given tokenizer, or train one on the kept documents."""
    declared = job.spec.tokenizer
    path = given_tokenizer(job.loaded)
    if path is not None:
        return store_given_tokenizer(job.store, path, declared)
    assert declared.train is not None, "a tokenizer is given or trained"
    texts = {name: texts_of(source, keep[name]) for name, source in sources.items()}
    return train_tokenizer(declared.train, texts, declared.eod, job.store, job.cluster, bos=declared.bos)
