"""All deduplication of a build, in order: documents, semantic duplicates, paragraphs, substrings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mixproof.ledger.account import StageRow
from mixproof.ledger.manifest import MatrixRow
from mixproof.ledger.records.dropped import CutsRecord, TwinsRecord
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.dedup.duplicates import GroupDuplicates
from mixproof.pipeline.paragraphs.paragraphs import deduplicate_paragraphs
from mixproof.pipeline.read.documents import SourceDocuments
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.semantic.semantic import deduplicate_semantically
from mixproof.pipeline.substrings.substrings import deduplicate_substrings

from .compose_manifest import add_matrices, refuse_empty
from .job import Job


@dataclass(frozen=True)
class DeduplicatedSources:
    """What deduplication kept, and the account of it."""

    selection: Selection
    rows: Mapping[str, tuple[StageRow, ...]]
    """Each source's ledger so far."""
    matrix: tuple[MatrixRow, ...]
    """What sources lost to each other, over all stages."""
    twins: Mapping[str, TwinsRecord]
    """The list of the semantic duplicates that each compared source lost."""
    cuts: Mapping[str, tuple[CutsRecord, ...]]
    """Lists of the paragraphs that each source lost; empty where they are not deduplicated."""
    substring_cuts: Mapping[str, tuple[CutsRecord, ...]]
    """Lists of the substrings that each source lost; empty where they are not deduplicated."""
    duplicates: tuple[GroupDuplicates, ...]
    """Where the duplicates that were dropped are named."""

    def with_parts(self, whole_of: Mapping[str, str]) -> DeduplicatedSources:
        """Name the lists of each divided source for its parts too; `whole_of` gives the source of each part."""
        twins = {part: self.twins[whole] for part, whole in whole_of.items() if whole in self.twins}
        cuts = {part: self.cuts.get(whole, ()) for part, whole in whole_of.items()}
        substring_cuts = {part: self.substring_cuts.get(whole, ()) for part, whole in whole_of.items()}
        return replace(
            self,
            twins={**self.twins, **twins},
            cuts={**self.cuts, **cuts},
            substring_cuts={**self.substring_cuts, **substring_cuts},
        )


def deduplicate_sources(
    job: Job, sources: Mapping[str, SourceDocuments], table: TableFiles | None
) -> DeduplicatedSources:
    """Deduplicate by every rule that the spec sets.

    Args:
        job: the build.
        sources: the documents that were read.
        table: the token table of semantic deduplication; None without it.

    Raises:
        RequestError: when a source has no documents left.
        AccountError: when E2 does not close.
    """
    rows = {name: tuple(source.ledger) for name, source in sources.items()}
    with job.clock.time("dedup"):
        documents = deduplicate(job.spec, sources, job.store, job.cluster)
    rows = extended(rows, documents.rows)
    with job.clock.time("semantic"):
        semantic = deduplicate_semantically(job.selection(sources, documents.keep, rows), table)
    rows = extended(rows, semantic.rows)
    with job.clock.time("paragraphs"):
        paragraphs = deduplicate_paragraphs(job.selection(sources, semantic.keep, rows))
    rows = extended(rows, paragraphs.rows)
    with job.clock.time("substrings"):
        substrings = deduplicate_substrings(job.selection(paragraphs.sources, paragraphs.keep, rows))
    rows = extended(rows, substrings.rows)
    stages = (documents, semantic, paragraphs, substrings)
    return DeduplicatedSources(
        selection=job.selection(substrings.sources, substrings.keep, rows),
        rows=rows,
        matrix=add_matrices(*(stage.matrix for stage in stages)),
        twins=semantic.twins,
        cuts=paragraphs.lists,
        substring_cuts=substrings.lists,
        duplicates=tuple(found for stage in stages for found in stage.duplicates),
    )


def extended(rows: Mapping[str, Sequence[StageRow]], new: Mapping[str, StageRow]) -> dict[str, tuple[StageRow, ...]]:
    """Append each new row to its source's ledger.

    Raises:
        RequestError: when a source has no documents left.
    """
    longer = {name: (*chain, *((new[name],) if name in new else ())) for name, chain in rows.items()}
    for name, chain in longer.items():
        refuse_empty(name, chain)
    return longer
