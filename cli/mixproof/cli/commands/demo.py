"""`mixproof demo`: the whole job on text that every Python installation has; needs no network and no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from mixproof.cli.before_work import open_for_work
from mixproof.cli.demo.demo_corpus import gather
from mixproof.cli.options import AddressOption, JsonOption, QuietOption, VerboseOption, WorkersOption
from mixproof.cli.output import count, emit_json, own_command, stderr, stdout, table
from mixproof.cli.report import write_report
from mixproof.cli.spec_schema import write_schema
from mixproof.mixtures.shipped import shipped_spec

from .demo_chain import demo_chain
from .run import print_ran, run_request

REPORT = "report.html"
PrepareOption = Annotated[bool, typer.Option("--prepare", help="Only write the corpus and the spec, demo.yaml.")]
StageOption = Annotated[
    Literal["pretrain", "sft"],
    typer.Option(
        "--stage", help="pretrain: two mixtures of text. sft: the chain base > SFT > DPO > reward on conversations."
    ),
]
DirectoryOption = Annotated[
    Path, typer.Option("--directory", metavar="DIR", help="Folder for the corpus, the spec and the store.")
]
DemoStoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", envvar="MIXPROOF_STORE", metavar="URI", help="Folder or URL of the store; default: DIR/store."
    ),
]


def demo(
    directory: DirectoryOption = Path(".demo"),
    stage: StageOption = "pretrain",
    store: DemoStoreOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
    prepare: PrepareOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Collect real text, build it, train two mixtures and say which is better, in a few minutes."""
    if stage == "sft":
        url = store or str(directory / "store")
        demo_chain(directory, url, address, workers, prepare=prepare, as_json=as_json)
        return
    sizes = gather(directory / "corpus")
    rows = [(name, count(size)) for name, size in sizes.items()]
    stderr.print(table(f"Corpus from this Python installation, in {directory}", ("source", "text bytes"), rows))
    spec = directory / "demo.yaml"
    spec.write_text(shipped_spec("demo"))
    write_schema(directory)
    if prepare:
        if as_json:
            emit_json({"spec": str(spec.absolute()), "text_bytes": sizes})
        return
    request = open_for_work(spec, store or str(directory / "store"), "run")
    ran = run_request(request, address, workers)
    report = directory / REPORT
    write_report(report, [ran.request], [ran.runs], ran.comparison)
    if as_json:
        emit_json(ran.to_json())
        return
    print_ran(ran)
    stdout.print(f"report: {escape(str(report))}")
    command = f"{own_command()} plan {spec} --store {store or directory / 'store'}"
    stdout.print(escape(f"next: {command}"), soft_wrap=True)
