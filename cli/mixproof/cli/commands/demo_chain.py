"""The chain of `mixproof demo --stage sft`: base > SFT > DPO > reward, each stage from the run before it."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from mixproof.cli.before_work import open_for_work
from mixproof.cli.demo.demo_conversations import gather_conversations
from mixproof.cli.output import count, emit_json, own_command, stderr, stdout, table
from mixproof.cli.spec_schema import write_schema
from mixproof.cli.tables.heldout_tables import heldout_tables
from mixproof.mixtures.shipped import shipped_spec
from mixproof.train.record import RunRecord

from .audit import audit_request, print_report
from .build import print_account
from .run import Ran, run_request
from .train import delivered_table, report_failed, train_json

STAGES = ("base", "sft", "dpo", "reward")
START = re.compile(r"(?<=init_from: )\w+")


def prepare_chain(directory: Path) -> dict[str, int]:
    """Write the corpus and the specs of all stages; return the number of records by source."""
    records = gather_conversations(directory / "conversations")
    rows = [(name, count(number)) for name, number in records.items()]
    stderr.print(table(f"Corpus from this Python installation, in {directory}", ("source", "records"), rows))
    for stage in STAGES:
        _spec(directory, stage).write_text(shipped_spec(f"demo_{stage}"))
    write_schema(directory)
    return records


def demo_chain(
    directory: Path, store: str, address: str | None, workers: int | None, *, prepare: bool, as_json: bool
) -> None:
    """Collect conversations, build them and train the stages in turn; exit code 1 if a run or an audit fails."""
    records = prepare_chain(directory)
    if not prepare:
        train_chain(directory, store, address, workers, as_json=as_json)
    elif as_json:
        emit_json({"specs": [str(_spec(directory, stage).absolute()) for stage in STAGES], "records": records})


def train_chain(directory: Path, store: str, address: str | None, workers: int | None, *, as_json: bool) -> None:
    """Run the specs of the stages, each from the run of the stage before; print account, scores and audit."""
    ran: list[Ran] = []
    for stage in STAGES:
        path = _spec(directory, stage)
        if ran:
            path.write_text(START.sub(ran[-1].outcomes[0].key[:12], path.read_text()))
        ran.append(run_request(open_for_work(path, store, "run"), address, workers))
        if report_failed(ran[-1].outcomes):
            raise typer.Exit(1)
    report = audit_request(ran[-1].request, "bytes")
    if as_json:
        emit_json(
            {
                "build": ran[0].build,
                "stages": {stage: train_json(one.outcomes) for stage, one in zip(STAGES, ran, strict=True)},
                "audit": report.to_json(),
            }
        )
    else:
        _print(ran)
        print_report(report)
        options = f"--store {store} --format huggingface --output {directory / 'model'}"
        stdout.print(escape(f"next: {own_command()} export {_spec(directory, 'sft')} {options}"), soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)


def _print(ran: list[Ran]) -> None:
    """Print the account of the build, of every stage, and of the chain."""
    print_account(ran[0].manifest)
    for stage, one in zip(STAGES, ran, strict=True):
        stdout.print(f"[bold]{stage}[/]")
        stdout.print(delivered_table(one.outcomes))
        for shown in heldout_tables(one.outcomes):
            stdout.print(shown)
    stdout.print(
        _chain_table([outcome.record for one in ran for outcome in one.outcomes if outcome.record is not None])
    )


def _chain_table(records: list[RunRecord]) -> Table:
    """One row per run: its tokens, what they were, and the run that it starts from."""
    rows = []
    for stage, record in zip(STAGES, records, strict=True):
        sources = record.delivered.values()
        parts = [
            sum(getattr(source, name) or 0 for source in sources)
            for name in ("supervised_tokens", "context_tokens", "padding_tokens", "examples")
        ]
        ancestors = () if record.post_training is None else record.post_training.ancestors
        start = ancestors[-1].run[:12] if ancestors else ""
        shown = ["", "", "", ""] if record.post_training is None else [count(part) for part in parts]
        rows.append((stage, record.key[:12], start, count(record.consumed_tokens), *shown))
    columns = ("stage", "run", "starts from", "tokens", "supervised", "context", "padding", "examples")
    return table("The chain: tokens = supervised + context + padding", columns, rows, text_columns=3)


def _spec(directory: Path, stage: str) -> Path:
    return directory / f"demo_{stage}.yaml"
