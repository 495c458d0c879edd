"""Choose the documents that a build encodes: deduplicate, label, divide, hold out, decontaminate.

The tokenizer is made here too, as soon as its training documents are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import StageRow
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.pipeline.bitmap import KeepBitmaps
from mixproof.pipeline.cells.divide_sources import DividedSources, divide_sources
from mixproof.pipeline.classifiers.check_examples import check_examples
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.heldout.decontaminate import Decontaminated
from mixproof.pipeline.heldout.evaluation import EvaluationFile
from mixproof.pipeline.heldout.heldout_set import HeldoutSet
from mixproof.pipeline.labels.labeler import Labeler
from mixproof.pipeline.read.documents import SourceDocuments

from .deduplicate_sources import DeduplicatedSources, deduplicate_sources, extended
from .hold_out import hold_out
from .job import Job


@dataclass(frozen=True)
class ChosenDocuments:
    """The documents that will be encoded, and the account of how they were chosen."""

    job: Job
    """Its spec has the parts of every split source."""
    rows: Mapping[str, Sequence[StageRow]]
    """Each source's ledger up to decontamination."""
    deduplicated: DeduplicatedSources
    """Its lists are also named by part."""
    divided: DividedSources
    """Labels, and how sources were divided."""
    tokenizer: TokenizerRecord
    heldout: Mapping[str, HeldoutSet]
    clean: Decontaminated

    @property
    def sources(self) -> Mapping[str, SourceDocuments]:
        """By name, with parts in place of divided sources."""
        return self.divided.selection.sources

    @property
    def train(self) -> KeepBitmaps:
        """Which documents of each source are trained on."""
        return self.clean.train


def choose_documents(
    job: Job,
    sources: Mapping[str, SourceDocuments],
    labelers: Mapping[str, Mapping[str, Labeler]],
    against: Sequence[EvaluationFile],
    table: TableFiles | None,
) -> ChosenDocuments:
    """Choose the documents of every source, and make the tokenizer.

    Args:
        job: the build.
        sources: the documents that were read.
        labelers: of each source that has labels, by label.
        against: the evaluation files.
        table: the token table of semantic deduplication; None without it.

    Raises:
        RequestError: when a label does not fit the documents, or a source has no documents left.
        AccountError: when an equation does not close.
    """
    deduplicated = deduplicate_sources(job, sources, table)
    with job.clock.time("labels"):
        divided = divide_sources(deduplicated.selection, labelers)
    rows = extended(deduplicated.rows, divided.kept_rows)
    rows |= {part: (*rows[whole], divided.rows[part]) for part, whole in divided.whole_of.items()}
    rows = {name: rows[name] for name in divided.selection.sources}
    job = replace(job, loaded=job.loaded.with_parts(divided.selection.spec))
    held_out = hold_out(job, divided.selection, rows, against)
    check_examples(divided.classifiers, held_out.heldout.texts.values(), job.store)
    return ChosenDocuments(
        job=job,
        rows=extended(rows, held_out.clean.rows),
        deduplicated=deduplicated.with_parts(divided.whole_of),
        divided=divided,
        tokenizer=held_out.tokenizer,
        heldout=held_out.heldout.texts,
        clean=held_out.clean,
    )
