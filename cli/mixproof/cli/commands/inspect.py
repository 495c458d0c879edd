"""`mixproof inspect`: what the steps of a spec would drop, so that they can be tuned before a full build."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mixproof.cli.decontamination_report import dropped_by_reason, print_report, read_report, report_json
from mixproof.cli.keep_trial import keep_json, print_keep, try_keep
from mixproof.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    QuietOption,
    SpecPath,
    StoreOption,
    VerboseOption,
    WorkersOption,
)
from mixproof.cli.output import count, emit_json, percent, stderr, stdout, table
from mixproof.cli.progress.show import stage_progress
from mixproof.cli.progress.stages import stages_of
from mixproof.cli.request import open_request
from mixproof.cli.tables.classifiers import classifiers_json, print_classifiers
from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.classifiers import ClassifierRecord
from mixproof.ledger.shown_text import one_line
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import whole_of
from mixproof.mixtures.values.quantities import exact_string, parse_share
from mixproof.pipeline.cells.divide_sources import with_classifiers
from mixproof.pipeline.cells.keep import Kept
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.labels.distribution import Distribution, distributions
from mixproof.pipeline.labels.label_shards import label_sources
from mixproof.pipeline.labels.labeler import Labeler, columns_of
from mixproof.pipeline.labels.of_spec import check_fields, labelers_of
from mixproof.pipeline.read.documents import SourceDocuments, check_sources
from mixproof.pipeline.read.selection import Selection
from mixproof.pipeline.read.trial import Sample, StepTrial, read_on_trial, tried_steps
from mixproof.pipeline.read.values import split_by_columns
from mixproof.pipeline.record import PASSED_OVER
from mixproof.pipeline.steps.deciding import option_of

SHOWN_CHARS = 300

SampleOption = Annotated[str, typer.Option("--sample", metavar="SHARE", help="Share of the documents to try.")]
TextsOption = Annotated[
    int, typer.Option("--texts", min=0, help="Number of dropped texts to show per reason, or per evaluation file.")
]
DecontaminationOption = Annotated[
    bool,
    typer.Option("--decontamination", help="Show what the finished build dropped, by evaluation file and question."),
]


def inspect(
    spec: SpecPath,
    sample: SampleOption = "100%",
    texts: TextsOption = 2,
    decontamination: DecontaminationOption = False,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Show what the steps and `keep` of SPEC would drop, and the values of its labels. Writes to no store."""
    if decontamination:
        inspect_decontamination(spec, store, texts, as_json)
        return
    rate = _rate(sample)
    loaded = load_spec(spec)
    check_sources(loaded.spec)
    files = find_files(loaded.spec, loaded.base)
    labelers = labelers_of(loaded.spec, loaded.base)
    with (
        tempfile.TemporaryDirectory(prefix="mixproof-inspect-") as folder,
        stage_progress(stages_of(loaded.spec, "inspect")) as progress,
        Cluster(None, workers, progress) as cluster,
    ):
        trial = Store(Path(folder))
        parts, files = split_by_columns(loaded.spec, files, trial, cluster, in_pieces=rate == 1)
        found = read_on_trial(parts, files, trial, cluster, rate)
        tried = tried_steps(found, trial, rate, texts)
        selection = all_documents(parts, found, trial, cluster)
        labelers, classifiers, problems = trained_on(selection, labelers)
        labels = label_distributions(parts, found, labelers, trial, cluster)
        kept, problems_of_keep = try_keep(selection, labelers)
    for problem in (*problems, *problems_of_keep):
        stderr.print(f"[bold yellow]warning:[/] {escape(problem)}", soft_wrap=True)
    if as_json:
        stated = {"classifiers": classifiers_json(classifiers)} if classifiers else {}
        emit_json(inspect_json(tried, rate, labels, kept) | stated)
        return
    print_classifiers(classifiers)
    for name, source_tried in tried.items():
        print_source(name, source_tried)
        print_labels(labels.get(name, {}))
        if name in kept:
            print_keep(name, kept[name])


def inspect_decontamination(spec: Path, store: str, most: int, as_json: bool) -> None:
    """Show the documents that the finished build of a spec dropped, beside the texts that they overlap with."""
    request = open_request(spec, store)
    files, frequent = read_report(request)
    dropped = dropped_by_reason(request.manifest())
    if as_json:
        emit_json(report_json(files, frequent, dropped))
        return
    rules = request.loaded.as_written.decontaminate
    assert rules is not False, "the report was read"
    print_report(files, frequent, dropped, rules, most)


def all_documents(spec: Spec, sources: Mapping[str, SourceDocuments], store: Store, cluster: Cluster) -> Selection:
    """Select every document that was tried; none is deduplicated."""
    keep = {name: (None,) * len(source.shards) for name, source in sources.items()}
    rows = {name: source.ledger[-1] for name, source in sources.items()}
    return Selection(spec, sources, keep, rows, store, cluster)


def trained_on(
    selection: Selection, labelers: Mapping[str, Mapping[str, Labeler]]
) -> tuple[dict[str, dict[str, Labeler]], dict[str, ClassifierRecord], list[str]]:
    """Train the classifiers of labels on the documents that were tried, before deduplication.

    Returns:
        The labelers by source, what was trained, and why something was not.
    """
    own = {name: dict(labelers.get(whole_of(selection.spec, name), {})) for name in selection.sources}
    try:
        return (*with_classifiers(selection, own), [])
    except RequestError as error:  # a small sample may have too few texts of a side
        return own, {}, [f"not trained on this sample: {error}"]


def label_distributions(
    spec: Spec,
    sources: Mapping[str, SourceDocuments],
    labelers: Mapping[str, Mapping[str, Labeler]],
    store: Store,
    cluster: Cluster,
) -> dict[str, dict[str, Distribution]]:
    """What values the labels of each source have, by column; clusters are found only by a build."""
    known = {name: labelers.get(name, labelers.get(whole_of(spec, name), {})) for name in sources}
    own = {name: {k: each for k, each in found.items() if each.is_ready} for name, found in known.items()}
    check_fields(spec, sources)
    paths = label_sources(sources, own, store, cluster)
    return {name: distributions(store, tuple(columns_of(found)), paths[name]) for name, found in own.items() if found}


def inspect_json(
    tried: Mapping[str, StepTrial],
    rate: Fraction,
    labels: Mapping[str, Mapping[str, Distribution]] | None = None,
    kept: Mapping[str, Kept] | None = None,
) -> dict[str, object]:
    """The JSON form of a trial; shares refer to the documents and bytes that enter the source's first step."""
    known, by_rules = labels or {}, kept or {}
    sources = {
        name: {
            "rejected": dict(one.rejected),
            "rejects": {reason: _samples_json(samples) for reason, samples in one.rejects.items()},
            "tried": one.tried.model_dump(),
            "kept": one.kept.model_dump(),
            "steps": [_step_json(one, row) for row in one.rows],
            "doubts": list(one.doubts),
            **({"labels": {column: asdict(each) for column, each in known[name].items()}} if name in known else {}),
            **({"keep": keep_json(by_rules[name])} if name in by_rules else {}),
        }
        for name, one in tried.items()
    }
    return {"sample": exact_string(rate), "sources": sources}


def _step_json(tried: StepTrial, row: StageRow) -> dict[str, object]:
    dropped = {}
    for reason, lost in row.dropped.items():
        documents, text_bytes = _shares(lost, tried.tried)
        samples = _samples_json(tried.samples.get((row.stage, reason), ()))
        shares = {"documents_share": documents, "bytes_share": text_bytes}
        option = option_of(row.stage, reason)
        dropped[reason] = {**lost.model_dump(), **shares, "option": option, "samples": samples}
    return {**row.model_dump(exclude={"stage", "dropped"}), "step": row.stage, "dropped": dropped}


def _samples_json(samples: Sequence[Sample]) -> list[dict[str, object]]:
    return [{"file": one.file, "record": one.record, "id": one.id, "text": one.text[:SHOWN_CHARS]} for one in samples]


def print_source(name: str, tried: StepTrial) -> None:
    """Print one source's trial."""
    rows = []
    for row in tried.rows:
        for reason, lost in sorted(row.dropped.items(), key=lambda item: -item[1].documents):
            rows.append((row.stage, reason, option_of(row.stage, reason) or "", *_cells(lost, tried.tried)))
        if row.bytes_added or row.bytes_removed:
            rows.append((row.stage, "edits", "", "", "", f"+{count(row.bytes_added)} -{count(row.bytes_removed)}", ""))
        rows += [
            (row.stage, f"{kind} replaced", "", "", "", f"{count(n)} times", "") for kind, n in row.replaced.items()
        ]
    rows.append(("", "kept", "", *_cells(tried.kept, tried.tried)))
    columns = ("step", "reason", "option", "documents", "share", "bytes", "share")
    stdout.print(table(f"{name}: {count(tried.tried.documents)} documents tried", columns, rows, text_columns=3))
    for reason, records in tried.rejected.items():
        what = "records skipped" if reason in PASSED_OVER else "records rejected"
        stdout.print(f"{count(records)} {what} by the reader: {escape(reason)}")
        print_samples(tried.rejects.get(reason, ()))
    for doubt in tried.doubts:
        stdout.print(f"[bold yellow]warning:[/] {escape(doubt)}", soft_wrap=True)
    for (step, reason), samples in tried.samples.items():
        print_samples(samples, f"[bold]{escape(step)} {escape(reason)}[/]")
    stdout.print()


def print_labels(labels: Mapping[str, Distribution]) -> None:
    """Print the values of each label."""
    for column, found in labels.items():
        numbers = f"{count(found.documents)} documents, {count(found.unlabelled)} without a value"
        stdout.print(f"label {escape(one_line(column))}: {numbers}", soft_wrap=True)
        if found.quantiles:
            stdout.print("  " + ", ".join(f"{percent}%: {value:g}" for percent, value in found.quantiles.items()))
        if found.values:
            shown = ", ".join(f"{escape(one_line(value))} {count(number)}" for value, number in found.values.items())
            stdout.print(f"  {shown}{', ...' if found.distinct > len(found.values) else ''}", soft_wrap=True)
    if labels:
        stdout.print()


def print_samples(samples: Sequence[Sample], head: str = "") -> None:
    """Print the location and the beginning of each text."""
    for one in samples:
        location = f"{one.file} record {one.record}" + ("" if one.id is None else f", id {one.id}")
        stdout.print(f"{head}  {escape(one_line(location))}", soft_wrap=True)
        stdout.print(escape("  " + " ".join(one.text[:SHOWN_CHARS].split())), soft_wrap=True)


def _cells(part: Count, whole: Count) -> tuple[str, ...]:
    documents, text_bytes = _shares(part, whole)
    return count(part.documents), percent(documents), count(part.bytes), percent(text_bytes)


def _shares(part: Count, whole: Count) -> tuple[float, float]:
    return part.documents / max(1, whole.documents), part.bytes / max(1, whole.bytes)


def _rate(sample: str) -> Fraction:
    try:
        rate = parse_share(sample)
    except ValueError as error:
        raise RequestError(f"--sample: {error}") from None
    if not rate:
        raise RequestError("--sample 0: would try no documents; give a positive share, such as 1%")
    return rate
