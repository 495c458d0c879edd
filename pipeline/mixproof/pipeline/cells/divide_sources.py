"""Label the documents that deduplication kept, and put cells in place of the sources that the spec divides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from mixproof.ledger.account import StageRow
from mixproof.ledger.records.cells import CellsRecord, ClustersRecord
from mixproof.ledger.records.classifiers import ClassifierRecord
from mixproof.ledger.records.kept import KeptRecord
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import Value, divided_sources, whole_of, with_parts
from mixproof.pipeline.classifiers.training import TrainedClassifier, train_classifier
from mixproof.pipeline.clusters.fit import NO_LABELS, SampleLabels, fit_clusters
from mixproof.pipeline.clusters.other_build import clusters_of_build
from mixproof.pipeline.labels.columns_of_rows import PREFIX, LabelColumn, LabelledShard, LabelledSource
from mixproof.pipeline.labels.label_shards import label_sources
from mixproof.pipeline.labels.labeler import Labeler, columns_of
from mixproof.pipeline.labels.of_spec import check_fields
from mixproof.pipeline.read.documents import RemovalList, SourceDocuments
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.shards import DOCUMENTS

from .divide import divide
from .keep import Kept, keep_documents
from .survey import LabelPaths


@dataclass(frozen=True)
class DividedSources:
    """The sources of the rest of a build."""

    selection: Selection
    """With parts in place of divided sources; the last rows of parts are their rows `cells`."""
    whole_of: dict[str, str]
    """The source of each part."""
    rows: dict[str, StageRow]
    """The ledger row `cells` of each part."""
    cells: dict[str, CellsRecord]
    """By divided source."""
    labels: dict[str, LabelledSource]
    """By source; without those that have no labels."""
    lists: dict[str, tuple[RemovalList, ...]]
    """Lists of the documents that each source lost by `keep`, and with pruned clusters."""
    kept_rows: dict[str, StageRow]
    """The ledger row `keep` of each source that has rules, before it is divided."""
    kept: dict[str, KeptRecord]
    """By which rules each of these sources kept documents."""
    hashes: dict[str, dict[str, dict[str, str]]]
    """What the spec in the manifest states in place of paths, by source, label and key of the label's kind."""
    classifiers: dict[str, ClassifierRecord]
    """What was trained, by name of the label, or `source: label` of a label that one source declares."""


def divide_sources(selection: Selection, labelers: Mapping[str, Mapping[str, Labeler]]) -> DividedSources:
    """Label every source and divide those that the spec says are divided.

    Raises:
        RequestError: when a label does not fit the documents.
        SpecError: when cells cannot name parts, or the spec names a part that does not exist.
        AccountError: when cells do not add up to their source.
    """
    spec, divided = selection.spec, divided_sources(selection.spec)
    if not labelers:
        return DividedSources(selection, {}, {}, {}, {}, {}, {}, {}, {}, {})
    check_fields(spec, selection.sources)
    labelers, classifiers = with_classifiers(selection, labelers)
    kept = {name: keep_source(selection, name, each) for name, each in labelers.items() if spec.sources[name].keep}
    selection = replace(
        selection,
        keep={**selection.keep, **{name: each.keep for name, each in kept.items()}},
        last_rows={**selection.last_rows, **{name: each.row for name, each in kept.items()}},
    )
    labelers = {name: with_clusters(selection, name, labelers[name]) for name in selection.sources if name in labelers}
    paths = label_sources(selection.sources, labelers, selection.store, selection.cluster)
    sources, keep, last = dict(selection.sources), dict(selection.keep), dict(selection.last_rows)
    whole_of: dict[str, str] = {}
    cells: dict[str, CellsRecord] = {}
    rows: dict[str, StageRow] = {}
    lists = {name: each.lists for name, each in kept.items()}
    values_of: dict[str, tuple[Value, ...]] = {}
    for name in divided:
        result = divide(selection, name, paths[name], clusters_in(labelers[name]))
        values_of[name], cells[name] = result.values, result.record
        lists[name] = (*lists.get(name, ()), *result.lists)
        del sources[name], keep[name], last[name]
        sources, keep, last = sources | result.sources, keep | result.keep, last | result.rows
        rows |= result.rows
        whole_of |= dict.fromkeys(result.sources, name)
    parts = with_parts(spec, values_of)
    sources = {name: sources[name] for name in parts.sources if name in sources}
    labels, hashes = {}, {}
    for name, source in sources.items():
        whole = whole_of.get(name, name)
        if whole in labelers:
            labels[name] = _labelled(source, labelers[whole], _paths_of(source, selection.sources[whole], paths[whole]))
            hashes[name] = {label: each.hashes() for label, each in labelers[whole].items() if each.hashes()}
    rest = replace(selection, spec=parts, sources=sources, keep=keep, last_rows=last)
    kept_rows, records = ({name: getattr(each, field) for name, each in kept.items()} for field in ("row", "record"))
    return DividedSources(rest, whole_of, rows, cells, labels, lists, kept_rows, records, hashes, classifiers)


def keep_source(selection: Selection, name: str, labelers: Mapping[str, Labeler]) -> Kept:
    """Apply the rules of a source, for which only the labels that they name are computed."""
    columns = {rule.column for rule in selection.spec.sources[name].keep or ()}
    own = {label: each for label, each in labelers.items() if columns & set(columns_of({label: each}))}
    paths = label_sources({name: selection.sources[name]}, {name: own}, selection.store, selection.cluster)[name]
    return keep_documents(selection, name, paths)


def with_clusters(selection: Selection, name: str, labelers: Mapping[str, Labeler]) -> dict[str, Labeler]:
    """Find the clusters of labels that have some, on the documents of the source, or take those of another build.

    Raises:
        RequestError: when no document has a token, or the other build has no such clusters.
    """
    found = dict(labelers)
    for label, labeler in labelers.items():
        if labeler.table is None:
            continue
        if labeler.origin is not None:
            clusters = clusters_of_build(name, labeler.origin, labeler.table, selection.store)
        else:
            assert labeler.label.clusters is not None, "only clusters have a token table"
            given = labeler.label.clusters
            labels = _sample_labels(selection, name, {key: labelers[key] for key in given.columns})
            clusters = fit_clusters(selection, name, given, labeler.table, labels)
        found[label] = replace(labeler, clusters=clusters)
    return found


def with_classifiers(
    selection: Selection, labelers: Mapping[str, Mapping[str, Labeler]]
) -> tuple[dict[str, dict[str, Labeler]], dict[str, ClassifierRecord]]:
    """Train the classifiers of labels, each once for all sources that it labels.

    Raises:
        RequestError: when a side has too few texts.
    """
    found = {name: dict(each) for name, each in labelers.items()}
    records: dict[str, ClassifierRecord] = {}
    trained: dict[str, TrainedClassifier] = {}
    for source, labels in labelers.items():
        for label, labeler in labels.items():
            if labeler.inputs is None:
                continue
            name = classifier_name(selection.spec, source, label)
            if name not in trained:
                trained[name] = train_classifier(selection, labeler.inputs)
                records[name] = trained[name].record
            found[source][label] = replace(labeler, trained=trained[name].model)
    return found, records


def classifier_name(spec: Spec, source: str, label: str) -> str:
    """What the manifest calls the classifier of a label."""
    return f"{whole_of(spec, source)}: {label}" if label in spec.sources[source].labels else label


def _sample_labels(selection: Selection, name: str, labelers: Mapping[str, Labeler]) -> SampleLabels:
    """The labels by whose values fine clusters are merged and pruned; they are computed when they are first needed."""

    def of_rows(rows: pa.Table) -> dict[str, list[Any]]:
        source = selection.sources[name]
        paths = label_sources({name: source}, {name: labelers}, selection.store, selection.cluster)[name]
        found = _labelled(source, labelers, paths).of_rows(selection.store, rows)
        return {key: found[f"{PREFIX}{key}"].to_pylist() for key in labelers}

    identity = {key: labeler.identity() for key, labeler in labelers.items()}
    return SampleLabels(identity, of_rows) if labelers else NO_LABELS


def clusters_in(labelers: Mapping[str, Labeler]) -> dict[str, ClustersRecord]:
    """The clusters of labels, by name of the label."""
    return {
        label: ClustersRecord(path=labeler.clusters.path, sha256=labeler.clusters.sha256)
        for label, labeler in labelers.items()
        if labeler.clusters is not None
    }


def _paths_of(part: SourceDocuments, whole: SourceDocuments, paths: LabelPaths) -> LabelPaths:
    """The label files of a part's shards, which are some of its source's, in the same order."""
    place = {(shard.folder, shard.file, shard.first_record): index for index, shard in enumerate(whole.shards)}
    return [paths[place[shard.folder, shard.file, shard.first_record]] for shard in part.shards]


def _labelled(source: SourceDocuments, labelers: Mapping[str, Labeler], paths: LabelPaths) -> LabelledSource:
    columns = [LabelColumn(name, kind) for name, kind in columns_of(labelers).items()]
    shards = [
        LabelledShard(
            f"{shard.folder}/{DOCUMENTS}",
            shard.documents_sha256,
            shard.file,
            shard.first_record,
            shard.records,
            tuple(sorted(files.items())),
        )
        for shard, files in zip(source.shards, paths, strict=True)
    ]
    return LabelledSource(tuple(columns), tuple(shards))
