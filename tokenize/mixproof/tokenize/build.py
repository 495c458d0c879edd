"""Build: run all stages of a spec in order, check every equation, and write the manifest of its datasets.

read > steps > dedup > semantic > paragraphs > substrings > labels and cells > held-out sets > decontamination >
encode > parts > removal lists > manifest. Each stage reuses the outputs that the store has and makes the missing ones.
The account of a source is one chain of rows from raw records to encoded documents; E1-E6 are checked before the
manifest is written. A tokenizer that the build trains never sees held-out text: documents are reserved for the held-out
sets before it is trained, or, if the sets are imported, documents that overlap with them are removed first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixproof.ledger.account import StageRow
from mixproof.ledger.manifest import CutsRecord, Manifest, MatrixRow, TokenizerRecord, TwinsRecord, write_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.mixtures.load import LoadedSpec
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import whole_of
from mixproof.pipeline.bitmap import Bitmap, KeepBitmaps
from mixproof.pipeline.cells.divide_sources import DividedSources, divide_sources
from mixproof.pipeline.classifiers.check_examples import check_examples
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.dedup.duplicates import GroupDuplicates
from mixproof.pipeline.heldout.create_heldout import create_heldout
from mixproof.pipeline.heldout.decontaminate import Decontaminated, decontaminate
from mixproof.pipeline.heldout.evaluation import EvaluationFile, find_evaluation_files
from mixproof.pipeline.heldout.heldout_set import Heldout, HeldoutSet
from mixproof.pipeline.heldout.heldout_size import HeldoutSize, heldout_sizes
from mixproof.pipeline.heldout.import_heldout import import_heldout
from mixproof.pipeline.heldout.reserve import reserve_heldout
from mixproof.pipeline.inputs.files import InputFile, find_files
from mixproof.pipeline.labels.labeler import Labeler
from mixproof.pipeline.labels.of_spec import labelers_of
from mixproof.pipeline.paragraphs.paragraphs import deduplicate_paragraphs
from mixproof.pipeline.read.documents import RemovalList, SourceDocuments, read_sources
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import DOCUMENTS, SHARD_BYTES
from mixproof.pipeline.read.values import split_by_columns
from mixproof.pipeline.removed.pieces import Difference
from mixproof.pipeline.removed.removed import list_removed
from mixproof.pipeline.semantic.semantic import deduplicate_semantically
from mixproof.pipeline.semantic.vectors import semantic_table
from mixproof.pipeline.substrings.substrings import deduplicate_substrings

from .circumstances import Clock, write_circumstances
from .compose_manifest import Side, add_matrices, refuse_empty, state_build, state_source
from .dataset.adopt import adopt_sources
from .dataset.parts import PART_BYTES, make_datasets
from .encode import encode_texts, not_encoded
from .pointer import find_build, write_pointer
from .shard_tokens import Texts
from .tokenizer.tokenizer import TokenCounter, given_tokenizer, store_given_tokenizer
from .tokenizer.tokenizer_check import check_tokenizer
from .tokenizer.train_tokenizer import train_tokenizer

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
        RequestError: when the spec names files that do not exist or asks for something impossible.
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
        job = _Job(loaded.with_parts(spec), store, cluster, clock)
        sources = read_sources(spec, by_part, store, cluster, shard_bytes=shard_bytes)
        labelers = {name: labelers[whole_of(spec, name)] for name in sources if whole_of(spec, name) in labelers}
    documents = _choose_documents(job, sources, labelers, against, table)
    job = documents.job
    sides = _encode(job, documents, part_bytes)
    with job.clock.time("adopt"):
        adopted = adopt_sources(spec, by_part, documents.tokenizer, store, cluster, part_bytes=part_bytes)
    records = adopted | {
        name: state_source(
            source,
            documents.rows[name],
            *sides[name],
            documents.heldout[name],
            documents.cuts.get(name, ()),
            documents.twins.get(name),
            documents.substring_cuts.get(name, ()),
        )
        for name, source in documents.sources.items()
    }
    lists = _list_removed(job, sources, documents, sides)
    divided = documents.divided
    manifest = state_build(
        job.spec,
        documents.tokenizer,
        records,
        documents.against,
        documents.matrix,
        divided.cells,
        divided.hashes,
        divided.classifiers,
        divided.kept,
        None if table is None else table.sha256,
    )
    path = write_manifest(store, manifest)
    shards = [shard for both in sides.values() for side in both for shard in side.shards]
    stages = (cluster.stages_run, cluster.stages_reused)
    evaluation, frequent = documents.evaluation, documents.frequent
    write_circumstances(
        store, manifest.build, by_part, shards, lists, evaluation, frequent, job.clock, stages, written.name
    )
    write_pointer(loaded, found, store, manifest.build)
    return BuildResult(path, manifest, job.loaded, evaluation, frequent)


@dataclass(frozen=True)
class _Job:
    """What every stage needs."""

    loaded: LoadedSpec
    store: Store
    cluster: Cluster
    clock: Clock

    @property
    def spec(self) -> Spec:
        return self.loaded.spec

    def selection(
        self, sources: Mapping[str, SourceDocuments], keep: KeepBitmaps, rows: Mapping[str, Sequence[StageRow]]
    ) -> Selection:
        """Return the input of the next stage over documents."""
        return Selection(self.spec, sources, keep, _last(rows), self.store, self.cluster)


@dataclass(frozen=True)
class _Documents:
    """The documents that will be encoded, and the account of how they were chosen."""

    job: _Job
    """Its spec has the parts of every split source."""
    sources: Mapping[str, SourceDocuments]
    train: KeepBitmaps
    heldout: Mapping[str, HeldoutSet]
    rows: Mapping[str, Sequence[StageRow]]
    """Each source's ledger up to decontamination."""
    tokenizer: TokenizerRecord
    against: Sequence[str]
    """SHA-256 of each evaluation file, with declared fields."""
    matrix: Sequence[MatrixRow]
    cuts: Mapping[str, tuple[CutsRecord, ...]]
    """Lists of the paragraphs that each source lost; empty where they are not deduplicated."""
    twins: Mapping[str, TwinsRecord]
    """The list of the semantic duplicates that each compared source lost."""
    substring_cuts: Mapping[str, tuple[CutsRecord, ...]]
    """Lists of the substrings that each source lost; empty where they are not deduplicated."""
    duplicates: Sequence[GroupDuplicates]
    """Where the duplicates that were dropped are named."""
    decontaminated: Mapping[str, tuple[RemovalList, ...]]
    """Lists of the documents that each source lost in decontamination."""
    evaluation: Sequence[Mapping[str, object]]
    """What was read of each evaluation file."""
    frequent: Mapping[str, int] | None
    """N-grams that decontamination ignored."""
    divided: DividedSources
    """Labels, and how sources were divided."""


def _choose_documents(
    job: _Job,
    sources: Mapping[str, SourceDocuments],
    labelers: Mapping[str, Mapping[str, Labeler]],
    against: Sequence[EvaluationFile],
    table: TableFiles | None,
) -> _Documents:
    """Deduplicate, divide, hold out, decontaminate; make the tokenizer as soon as its training documents are known."""
    rows = {name: list(source.ledger) for name, source in sources.items()}
    with job.clock.time("dedup"):
        dedup = deduplicate(job.spec, sources, job.store, job.cluster)
    _extend(rows, dedup.rows)
    with job.clock.time("semantic"):
        semantic = deduplicate_semantically(job.selection(sources, dedup.keep, rows), table)
    _extend(rows, semantic.rows)
    with job.clock.time("paragraphs"):
        cut = deduplicate_paragraphs(job.selection(sources, semantic.keep, rows))
    _extend(rows, cut.rows)
    with job.clock.time("substrings"):
        shorter = deduplicate_substrings(job.selection(cut.sources, cut.keep, rows))
    _extend(rows, shorter.rows)
    with job.clock.time("labels"):
        divided = divide_sources(job.selection(shorter.sources, shorter.keep, rows), labelers)
    _extend(rows, divided.kept_rows)
    selection, cuts, twins = divided.selection, dict(cut.lists), dict(semantic.twins)
    substring_cuts = dict(shorter.lists)
    job = replace(job, loaded=job.loaded.with_parts(selection.spec))
    for part, whole in divided.whole_of.items():
        rows[part] = [*rows[whole], divided.rows[part]]
        cuts[part], substring_cuts[part] = cut.lists.get(whole, ()), shorter.lists.get(whole, ())
        twins |= {part: semantic.twins[whole]} if whole in semantic.twins else {}
    rows = {name: rows[name] for name in selection.sources}
    hold_out = _import_then_tokenizer if job.spec.heldout.from_ is not None else _tokenizer_then_create
    tokenizer, heldout, clean = hold_out(job, selection, rows, against)
    check_examples(divided.classifiers, heldout.texts.values(), job.store)
    _extend(rows, clean.rows)
    identities = [file.identity for file in against]
    matrix = add_matrices(dedup.matrix, semantic.matrix, cut.matrix, shorter.matrix)
    return _Documents(
        job,
        selection.sources,
        clean.train,
        heldout.texts,
        rows,
        tokenizer,
        identities,
        matrix,
        cuts,
        twins,
        substring_cuts,
        (*dedup.duplicates, *semantic.duplicates, *cut.duplicates, *shorter.duplicates),
        clean.lists,
        clean.evaluation,
        clean.frequent,
        divided,
    )


def _list_removed(
    job: _Job, sources: Mapping[str, SourceDocuments], documents: _Documents, sides: Mapping[str, tuple[Side, Side]]
) -> dict[str, tuple[RemovalList, ...]]:
    """Join the lists of what each source lost; returns the lists of all stages and the joined ones."""
    every = {**documents.sources, **sources}
    pruned, overlapping = documents.divided.lists, documents.decontaminated
    lists = {name: (*source.lists, *pruned.get(name, ()), *overlapping.get(name, ())) for name, source in every.items()}
    with job.clock.time("removed"):
        everything: dict[str, list[RemovalList | Difference]] = {
            name: [
                *own,
                *(lost for side in sides.get(name, ()) for shard in side.shards for lost in not_encoded(shard)),
            ]
            for name, own in lists.items()
        }
        removed = list_removed(everything, documents.duplicates, job.store, job.cluster)
    return {name: (*own, *removed[name]) for name, own in lists.items()}


def _tokenizer_then_create(
    job: _Job, selection: Selection, rows: Mapping[str, Sequence[StageRow]], against: Sequence[EvaluationFile]
) -> tuple[TokenizerRecord, Heldout, Decontaminated]:
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
            TokenCounter(str(job.store.path(tokenizer.path)), tokenizer.around),
            tokenizer_sha256=tokenizer.sha256 if tokenizer.bos_id is None else f"{tokenizer.sha256} with a BOS",
            reserve=reserve,
        )
    return tokenizer, heldout, _decontaminate(job, selection, heldout, against)


def _import_then_tokenizer(
    job: _Job, selection: Selection, rows: Mapping[str, Sequence[StageRow]], against: Sequence[EvaluationFile]
) -> tuple[TokenizerRecord, Heldout, Decontaminated]:
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
        return _make_tokenizer(job, selection.sources, seen), heldout, clean


def _decontaminate(
    job: _Job, selection: Selection, heldout: Heldout, against: Sequence[EvaluationFile]
) -> Decontaminated:
    with job.clock.time("decontaminate"):
        return decontaminate(selection, heldout, against)


def _extend(rows: Mapping[str, list[StageRow]], new: Mapping[str, StageRow]) -> None:
    for name, row in new.items():
        rows[name].append(row)
    for name, chain in rows.items():
        refuse_empty(name, chain)


def _last(rows: Mapping[str, Sequence[StageRow]]) -> dict[str, StageRow]:
    return {name: chain[-1] for name, chain in rows.items()}


def _make_tokenizer(job: _Job, sources: Mapping[str, SourceDocuments], keep: KeepBitmaps) -> TokenizerRecord:
    """Store the given tokenizer, or train one on the kept documents."""
    asked = job.spec.tokenizer
    path = given_tokenizer(job.loaded)
    if path is not None:
        return store_given_tokenizer(job.store, path, asked)
    assert asked.train is not None, "a tokenizer is given or trained"
    texts = {name: _texts(source, keep[name]) for name, source in sources.items()}
    return train_tokenizer(asked.train, texts, asked.eod, job.store, job.cluster, bos=asked.bos)


def _texts(source: SourceDocuments, keep: Sequence[Bitmap | None]) -> list[Texts]:
    return [
        Texts(
            f"{shard.folder}/{DOCUMENTS}",
            shard.documents_sha256,
            bitmap,
            shard.file,
            shard.first_record,
            source.name,
            shard.text_bytes,
            source.kind,
            source.attributes,
        )
        for shard, bitmap in zip(source.shards, keep, strict=True)
    ]


def _encode(job: _Job, documents: _Documents, part_bytes: int) -> dict[str, tuple[Side, Side]]:
    """Encode the training and held-out side of every source, and make their parts."""
    splits: list[tuple[str, str, list[Texts]]] = []
    for name, source in documents.sources.items():
        heldout = documents.heldout[name]
        splits.append((name, "train", _texts(source, documents.train[name])))
        texts = Texts(
            heldout.path,
            heldout.sha256,
            None,
            "",
            0,
            name,
            kind=source.kind,
            attributes=source.attributes,
        )
        splits.append((name, "heldout", [texts]))
    tokenizer, store, cluster = documents.tokenizer, job.store, job.cluster
    with job.clock.time("encode"):
        shards = [shard for _, _, texts in splits for shard in texts]
        encoded = iter(encode_texts(shards, tokenizer, store, cluster))
    done = [(name, split, tuple(next(encoded) for _ in texts)) for name, split, texts in splits]
    with job.clock.time("assemble"):
        labels = {
            (name, split): documents.divided.labels[name]
            for name, split, _ in done
            if name in documents.divided.labels and (split == "train" or documents.heldout[name].imported_from is None)
        }
        datasets = make_datasets(done, tokenizer, store, cluster, part_bytes=part_bytes, labels=labels)
    sides = [Side(shards, parts) for (_, _, shards), parts in zip(done, datasets, strict=True)]
    return dict(zip(documents.sources, zip(sides[::2], sides[1::2], strict=True), strict=True))
