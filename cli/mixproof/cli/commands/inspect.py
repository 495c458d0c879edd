"""`mixproof inspect`: what the steps of a spec would drop, so that they can be tuned before a full build."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mixproof.cli.options import JsonOption, QuietOption, SpecPath, VerboseOption, WorkersOption
from mixproof.cli.output import count, emit_json, percent, stdout, table
from mixproof.cli.progress.show import stage_progress
from mixproof.cli.progress.stages import stages_of
from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.values.quantities import exact_string, parse_share
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.trial import Sample, StepTrial, try_steps
from mixproof.pipeline.read.values import split_by_columns
from mixproof.pipeline.record import PASSED_OVER
from mixproof.pipeline.steps import make_steps
from mixproof.pipeline.steps.deciding import option_of

SHOWN_CHARS = 300

SampleOption = Annotated[str, typer.Option("--sample", metavar="SHARE", help="Share of the documents to try.")]
TextsOption = Annotated[int, typer.Option("--texts", min=0, help="Number of dropped texts to show per reason.")]


def inspect(
    spec: SpecPath,
    sample: SampleOption = "100%",
    texts: TextsOption = 2,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Show what the steps of SPEC would drop, by source and reason, with samples. Writes to no store."""
    rate = _rate(sample)
    loaded = load_spec(spec)
    for name, source in loaded.spec.sources.items():
        make_steps(source.steps, loaded.spec.where("sources", name, "steps"))
    files = find_files(loaded.spec, loaded.base)
    with (
        tempfile.TemporaryDirectory(prefix="mixproof-inspect-") as folder,
        stage_progress(stages_of(loaded.spec, "inspect")) as progress,
        Cluster(None, workers, progress) as cluster,
    ):
        store = Store(Path(folder))
        parts, files = split_by_columns(loaded.spec, files, store, cluster)
        tried = try_steps(parts, files, store, cluster, rate, texts)
    if as_json:
        emit_json(inspect_json(tried, rate))
        return
    for name, source_tried in tried.items():
        print_source(name, source_tried)


def inspect_json(tried: Mapping[str, StepTrial], rate: Fraction) -> dict[str, object]:
    """The JSON form of a trial; shares refer to the documents and bytes that enter the source's first step."""
    sources = {
        name: {
            "rejected": dict(one.rejected),
            "rejects": {reason: _samples_json(samples) for reason, samples in one.rejects.items()},
            "tried": one.tried.model_dump(),
            "kept": one.kept.model_dump(),
            "steps": [_step_json(one, row) for row in one.rows],
            "doubts": list(one.doubts),
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
    rows.append(("", "kept", "", *_cells(tried.kept, tried.tried)))
    columns = ("step", "reason", "option", "documents", "share", "bytes", "share")
    stdout.print(
        table(f"{escape(name)}: {count(tried.tried.documents)} documents tried", columns, rows, text_columns=3)
    )
    for reason, records in tried.rejected.items():
        what = "records skipped" if reason in PASSED_OVER else "records rejected"
        stdout.print(f"{count(records)} {what} by the reader: {escape(reason)}")
        print_samples(tried.rejects.get(reason, ()))
    for doubt in tried.doubts:
        stdout.print(f"[bold yellow]warning:[/] {escape(doubt)}", soft_wrap=True)
    for (step, reason), samples in tried.samples.items():
        print_samples(samples, f"[bold]{escape(step)} {escape(reason)}[/]")
    stdout.print()


def print_samples(samples: Sequence[Sample], head: str = "") -> None:
    """Print the location and the beginning of each text."""
    for one in samples:
        location = f"{one.file} record {one.record}" + ("" if one.id is None else f", id {one.id}")
        stdout.print(f"{head}  {escape(location)}", soft_wrap=True)
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
