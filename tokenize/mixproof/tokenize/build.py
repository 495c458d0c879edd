"""Build: run all stages of a spec in order, check every equation, and write the manifest of its datasets.

read > steps > dedup > semantic > paragraphs > substrings > labels and cells > held-out sets > decontamination >
encode > parts > removal lists > manifest. Each stage reuses the outputs that the store has and makes the missing ones.
The account of a source is one chain of rows from raw records to encoded documents; E1-E6 are checked before the
manifest is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.manifest import Manifest, write_manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.split_sources import whole_of
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.heldout.evaluation import find_evaluation_files
from mixproof.pipeline.heldout.heldout_size import HeldoutSize, heldout_sizes
from mixproof.pipeline.inputs.files import InputFile, find_files
from mixproof.pipeline.labels.of_spec import labelers_of
from mixproof.pipeline.read.documents import RemovalList, SourceDocuments, read_sources
from mixproof.pipeline.read.shards import SHARD_BYTES
from mixproof.pipeline.read.values import split_by_columns
from mixproof.pipeline.removed.pieces import Difference
from mixproof.pipeline.removed.removed import list_removed
from mixproof.pipeline.semantic.vectors import semantic_table

from .choose_documents import ChosenDocuments, choose_documents
from .circumstances import write_circumstances
from .compose_manifest import Side, state_build, state_source
from .dataset.adopt import adopt_sources
from .dataset.parts import PART_BYTES
from .encode import not_encoded
from .encode_sources import encode_sources
from .job import Clock, Job
from .pointer import find_build, write_pointer
from .tokenizer.tokenizer_check import check_tokenizer

__all__ = ["BuildResult", "build", "find_build"]


@dataclass(frozen=True)
class BuildResult:
    """A finished build."""

    manifest_path: Path
    manifest: Manifest
    loaded: LoadedSpec
    """The spec that was built; split sources are replaced by their parts."""
    evaluation: Sequence[Mapping[str, object]] = ()
    """What was read of each evaluation file, and what was not."""
    frequent: Mapping[str, int] | None = None
    """N-grams that decontamination ignored; None: all counted."""

    @property
    def heldout_sizes(self) -> list[HeldoutSize]:
        """The sizes of the held-out sets that this build created."""
        return heldout_sizes(self.loaded.spec, self.manifest)


def build(
    loaded: LoadedSpec,
    store: Store,
    cluster: Cluster,
    *,
    shard_bytes: int = SHARD_BYTES,
    part_bytes: int = PART_BYTES,
    files: Mapping[str, tuple[InputFile, ...]] | None = None,
) -> BuildResult:
    """Build the datasets of a spec.

    Args:
        loaded: the spec and the folder to which its paths are relative.
        store: where outputs go.
        cluster: runs the tasks.
        shard_bytes: size of a task's input, in bytes; it does not change any dataset.
        part_bytes: maximum size of a part's `.bin`, in bytes.
        files: the files of the spec as written, where they have been listed; listed now if None.

    Raises:
        RequestError: when the spec names files that do not exist or requires something impossible.
        DamagedFileError: when an input cannot be read completely.
        AccountError: when an equation does not hold.
    """
    written = loaded.as_written
    found = find_files(written, loaded.base) if files is None else files
    against = find_evaluation_files(written, loaded.base)
    check_tokenizer(loaded)
    labelers = labelers_of(written, loaded.base)
    table = semantic_table(written, loaded.base)
    clock = Clock()
    with clock.time("read"):
        spec, by_part = split_by_columns(written, found, store, cluster, shard_bytes=shard_bytes)
        job = Job(loaded.with_parts(spec), store, cluster, clock)
        sources = read_sources(spec, by_part, store, cluster, shard_bytes=shard_bytes)
        labelers = {name: labelers[whole_of(spec, name)] for name in sources if whole_of(spec, name) in labelers}
    documents = choose_documents(job, sources, labelers, against, table)
    sides = encode_sources(documents, part_bytes=part_bytes)
    with clock.time("adopt"):
        adopted = adopt_sources(spec, by_part, documents.tokenizer, store, cluster, part_bytes=part_bytes)
    records = adopted | _source_records(documents, sides)
    lists = _list_removed(sources, documents, sides)
    divided = documents.divided
    manifest = state_build(
        documents.job.spec,
        documents.tokenizer,
        records,
        [file.identity for file in against],
        documents.deduplicated.matrix,
        divided.cells,
        divided.hashes,
        divided.classifiers,
        divided.kept,
        None if table is None else table.sha256,
    )
    path = write_manifest(store, manifest)
    build_id = path.parent.name
    shards = [shard for both in sides.values() for side in both for shard in side.shards]
    stages = (cluster.stages_run, cluster.stages_reused)
    evaluation, frequent = documents.clean.evaluation, documents.clean.frequent
    write_circumstances(store, build_id, by_part, shards, lists, evaluation, frequent, clock, stages, written.name)
    write_pointer(loaded, found, store, build_id)
    return BuildResult(path, manifest, documents.job.loaded, evaluation, frequent)


def _source_records(documents: ChosenDocuments, sides: Mapping[str, tuple[Side, Side]]) -> dict[str, SourceRecord]:
    """Compose the manifest's record of every source that was read."""
    lost = documents.deduplicated
    return {
        name: state_source(
            source,
            documents.rows[name],
            *sides[name],
            documents.heldout[name],
            lost.cuts.get(name, ()),
            lost.twins.get(name),
            lost.substring_cuts.get(name, ()),
        )
        for name, source in documents.sources.items()
    }


def _list_removed(
    sources: Mapping[str, SourceDocuments], documents: ChosenDocuments, sides: Mapping[str, tuple[Side, Side]]
) -> dict[str, tuple[RemovalList, ...]]:
    """Join the lists of what each source lost; returns the lists of all stages and the joined ones."""
    every = {**documents.sources, **sources}
    pruned, overlapping = documents.divided.lists, documents.clean.lists
    lists = {name: (*source.lists, *pruned.get(name, ()), *overlapping.get(name, ())) for name, source in every.items()}
    job = documents.job
    with job.clock.time("removed"):
        everything: dict[str, list[RemovalList | Difference]] = {
            name: [
                *own,
                *(lost for side in sides.get(name, ()) for shard in side.shards for lost in not_encoded(shard)),
            ]
            for name, own in lists.items()
        }
        removed = list_removed(everything, documents.deduplicated.duplicates, job.store, job.cluster)
    return {name: (*own, *removed[name]) for name, own in lists.items()}
