"""`mixproof trace`: the documents that a step of a run read, or the steps that read a document."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from mixproof.cli.named import RunChoice, named_run
from mixproof.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    RunMixtureOption,
    RunProxyOption,
    RunSeedOption,
    StoreOption,
    VerboseOption,
)
from mixproof.cli.output import emit_json, stdout, table
from mixproof.ledger.errors import RequestError
from mixproof.ledger.shown_text import one_line
from mixproof.train.data.trace import trace_document, trace_step
from mixproof.train.data.trace_result import DocumentTrace, TracedDocument, TracedDocuments, TracedStep

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN|SPEC",
        help="A run: the first digits of its key, path or URL; or a spec with --mixture, --proxy and --seed.",
    ),
]
StepOption = Annotated[
    int | None, typer.Option("--step", metavar="N", help="List the documents of this step; steps count from 1.")
]
SampleOption = Annotated[
    int | None, typer.Option("--sample", metavar="K", help="With --step: only this sample; samples count from 0.")
]
DocumentOption = Annotated[
    str | None, typer.Option("--document", metavar="ID", help="List when a document was seen, by its id or text hash.")
]
WholeOption = Annotated[
    bool, typer.Option("--whole", help="With --step: print whole documents, not only the tokens read.")
]


def trace(
    run: RunArgument,
    step: StepOption = None,
    sample: SampleOption = None,
    document: DocumentOption = None,
    whole: WholeOption = False,
    mixture: RunMixtureOption = None,
    proxy: RunProxyOption = None,
    seed: RunSeedOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """List the documents that a step of RUN read, or the steps that read a document."""
    if (step is None) == (document is None) or (document is not None and (sample is not None or whole)):
        raise RequestError("trace needs either --step N (optionally with --sample K and --whole) or --document ID")
    run = named_run(run, store, RunChoice(mixture, proxy, seed))
    if document is not None:
        found = trace_document(run, document)
        _emit(found, as_json=as_json)
    else:
        assert step is not None
        _emit(trace_step(run, step, sample, whole=whole), as_json=as_json)


def _emit(traced: TracedStep | TracedDocuments, *, as_json: bool) -> None:
    if as_json:
        emit_json(traced.to_json())
    elif isinstance(traced, TracedStep):
        _print_step(traced)
    else:
        _print_documents(traced)


def _print_step(traced: TracedStep) -> None:
    stdout.print(f"step {traced.step}: {len(traced.samples)} samples; {_about(traced.text_is)}", soft_wrap=True)
    for sample in traced.samples:
        stdout.print(f"\n[bold]sample {sample.sample}[/]  {escape(sample.source)}, pass {sample.epoch + 1}")
        for piece in sample.pieces:
            last = piece.first_token + piece.tokens
            order = f", read as {piece.fim.upper()}" if piece.fim in ("psm", "spm") else ""
            read = f"tokens {piece.first_token:,} to {last:,} of {piece.document.tokens:,}{order}"
            stdout.print(f"  {_name(piece.document)}: {read}", soft_wrap=True)
            if piece.text is not None:
                stdout.print(f"[dim]{escape(piece.text)}[/]", soft_wrap=True)


def _print_documents(traced: TracedDocuments) -> None:
    for found in traced.documents:
        size = f"{found.document.tokens:,} tokens, {found.document.text_bytes:,} bytes"
        stdout.print(f"{_name(found.document)}: {size}", soft_wrap=True)
        if found.where != "drawn":
            stdout.print(f"never seen: {found.where}")
            continue
        stdout.print(f"seen in {found.passes} passes, {found.targets:,} of its tokens as targets")
        if found.sightings:
            stdout.print(_sightings(found))
        if found.text is not None:
            stdout.print(f"{_about(traced.text_is)}\n[dim]{escape(found.text)}[/]", soft_wrap=True)


def _sightings(found: DocumentTrace) -> object:
    has_fim = any(sighting.fim is not None for sighting in found.sightings)
    columns = ("step", "sample", "pass", "first token", "tokens", "targets", *(("read as",) if has_fim else ()))
    rows = [
        [
            *(f"{n:,}" for n in (s.step, s.sample, s.epoch + 1, s.first_token, s.tokens, s.targets)),
            *((s.fim or "",) if has_fim else ()),
        ]
        for s in found.sightings
    ]
    return table("Seen", columns, rows, text_columns=0)


def _name(document: TracedDocument) -> str:
    name = f"{document.source}: {document.file} record {document.record}, id {document.id}"
    return f"[bold]{escape(one_line(name))}[/]"


def _about(text_is: str | None) -> str:
    return f"text {text_is}" if text_is else "no text, because the run's tokenizer is not in the store"
