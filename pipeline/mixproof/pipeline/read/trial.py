"""A trial of a spec's steps on a share of the documents: what each step drops and why, with examples.

The share is drawn by text hash, so a changed step is tried on the same documents. Everything is written to the store
passed in, which should not be the one used by builds.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow.parquet as pq
import xxhash

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import OnBadRecord, Source, Step
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.record import OTHER_PART
from mixproof.pipeline.steps.segmentation.words import NoWordsError, splitter_of

from .documents import SourceDocuments, read_sources
from .shard_output import ROW_GROUP_ROWS, iter_rejects
from .shards import DROPPED, Shard

SAMPLER = "sampler"
MUCH = Fraction(1, 2)
"""A reason that drops more than this share of a step's documents is reported as a doubt."""
_LEAST_SEEN = 20
"""Documents that a step must have seen for that."""


@dataclass(frozen=True)
class Sample:
    """A document that a step dropped, or a rejected record."""

    file: str
    record: int
    """Index in the whole file, from 0."""
    id: str | None
    text: str


@dataclass(frozen=True)
class StepTrial:
    """What the steps of one source did in a trial."""

    rejected: Mapping[str, int]
    """Records without a usable text, by reason."""
    rejects: Mapping[str, tuple[Sample, ...]]
    """The first of them for each reason, with the start of the raw record."""
    tried: Count
    """Documents that the first step saw."""
    kept: Count
    rows: tuple[StageRow, ...]
    """One per step, without the trial's own sampling."""
    samples: Mapping[tuple[str, str], tuple[Sample, ...]]
    """By step and reason."""
    doubts: tuple[str, ...]
    """Sentences about steps that do not seem to fit the source."""


def try_steps(
    spec: Spec, files: Mapping[str, tuple[InputFile, ...]], store: Store, cluster: Cluster, rate: Fraction, samples: int
) -> dict[str, StepTrial]:
    """Run the steps of every source on a share of its documents; return up to `samples` texts for each reason."""
    return tried_steps(read_on_trial(spec, files, store, cluster, rate), store, rate, samples)


def read_on_trial(
    spec: Spec, files: Mapping[str, tuple[InputFile, ...]], store: Store, cluster: Cluster, rate: Fraction
) -> dict[str, SourceDocuments]:
    """Read a share of the documents of every source, with those that steps drop.

    Of a small share, large compressed files are not decompressed into the store, which would hold all of their text.
    """
    sources = {name: _on_trial(source, rate) for name, source in spec.sources.items()}
    update = {"sources": sources, "on_bad_record": OnBadRecord(reject=Fraction(1))}
    return read_sources(spec.model_copy(update=update), files, store, cluster, in_pieces=rate == 1)


def tried_steps(
    sources: Mapping[str, SourceDocuments], store: Store, rate: Fraction, samples: int
) -> dict[str, StepTrial]:
    """Say what the steps of sources on trial did, with up to `samples` texts for each reason."""
    return {name: _tried(source, store, samples, whole=rate == 1) for name, source in sources.items()}


def _on_trial(source: Source, rate: Fraction) -> Source:
    first = () if rate == 1 else (Step(name=SAMPLER, options={"rate": rate}),)
    return source.model_copy(update={"steps": (*first, *source.steps), "keep_dropped": True})


def _tried(source: SourceDocuments, store: Store, samples: int, *, whole: bool) -> StepTrial:
    read, *rows = source.ledger
    before = read
    if not whole:
        before, *rows = rows
    last = rows[-1] if rows else before
    return StepTrial(
        rejected={reason: count.documents for reason, count in read.dropped.items()},
        rejects=_rejects(source, store, samples),
        tried=Count(documents=before.documents_out, bytes=before.bytes_out),
        kept=Count(documents=last.documents_out, bytes=last.bytes_out),
        rows=tuple(rows),
        samples=_samples(source, store, samples),
        doubts=(*(doubt for row in rows for doubt in _doubts(row)), *_nothing_left(before, last)),
    )


def _samples(source: SourceDocuments, store: Store, most: int) -> dict[tuple[str, str], tuple[Sample, ...]]:
    """Take the dropped documents with the smallest text hashes for each step and reason."""
    found: dict[tuple[str, str], list[tuple[int, int, Sample]]] = {}
    number = 0
    for shard in source.shards:
        with pq.ParquetFile(store.path(f"{shard.folder}/{DROPPED}")) as file:
            for batch in file.iter_batches(ROW_GROUP_ROWS):
                for row in batch.filter(batch["text"].is_valid()).to_pylist():
                    number += 1
                    heap = found.setdefault((row["step"], row["reason"]), [])
                    rank = -xxhash.xxh3_64_intdigest(row["text"].encode())
                    if len(heap) < most:
                        heapq.heappush(heap, (rank, -number, _sample(row, shard)))
                    elif most and (rank, -number) > heap[0][:2]:
                        heapq.heapreplace(heap, (rank, -number, _sample(row, shard)))
    return {key: tuple(sample for _, _, sample in sorted(heap, reverse=True)) for key, heap in sorted(found.items())}


def _rejects(source: SourceDocuments, store: Store, most: int) -> dict[str, tuple[Sample, ...]]:
    """Take the first rejected records of each reason, without those of other parts of the source."""
    found: dict[str, list[Sample]] = {reason: [] for reason in source.ledger[0].dropped if reason != OTHER_PART}
    left = {reason for reason in found if most}
    for shard in source.shards:
        for row in iter_rejects(store, shard.folder) if left else ():
            if row["reason"] in left:
                samples = found[row["reason"]]
                samples.append(_sample({"id": None, "text": row["detail"], **row}, shard))
                if len(samples) == most:
                    left.remove(row["reason"])
    return {reason: tuple(samples) for reason, samples in found.items()}


def _sample(row: Mapping[str, Any], shard: Shard) -> Sample:
    file = row.get("file", shard.file)
    return Sample(file, row["record"] + shard.first_record, row["id"], row["text"])


def _why_no_words(language: str) -> str:
    try:
        splitter_of(language)
    except NoWordsError as error:
        return str(error)
    return "a package that is installed here is missing on the workers"


def _nothing_left(before: StageRow, last: StageRow) -> list[str]:
    tried = before.documents_out
    return [f"none of the {tried} documents tried is left"] if tried and not last.documents_out else []


def _doubts(row: StageRow) -> list[str]:
    """Sentences about where a step does not seem to fit the documents."""
    doubts = []
    for reason, count in row.dropped.items():
        misfit = reason.startswith(("no_words_", "gopher_no_stop_words_"))
        if not misfit and (row.documents_in < _LEAST_SEEN or count.documents <= MUCH * row.documents_in):
            continue
        doubt = f"{row.stage} drops {count.documents} of {row.documents_in} documents as {reason}"
        if reason == "gopher_enough_stop_words":
            doubt += (
                ": are the texts in the language that the step assumes? That is English, unless the step has a "
                "`language` or an earlier step `language: {}` labels each document"
            )
        elif reason.startswith("no_words_"):
            doubt += f": {_why_no_words(reason.removeprefix('no_words_'))}"
        elif reason.startswith("gopher_no_stop_words_"):
            doubt += ": give `by_language: {...: {stop_words: [...]}}`"
        doubts.append(doubt)
    return doubts
