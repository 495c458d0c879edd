"""`mixproof store list | verify | gc`: list a store's outputs, verify their checksums, remove unneeded ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from mixproof.cli.options import DEFAULT_STORE, JsonOption, StoreOption, VerboseOption
from mixproof.cli.output import amount, count, emit_json, stdout, table
from mixproof.ledger.errors import RequestError
from mixproof.ledger.keys import NAMES, short_key
from mixproof.ledger.maintenance.garbage import Garbage, find_garbage, remove_garbage
from mixproof.ledger.maintenance.inventory import ROOTS, Entry, Inventory, take_inventory
from mixproof.ledger.maintenance.verify import Verified, verify_store
from mixproof.ledger.store import Store

ActionArgument = Annotated[Literal["list", "verify", "gc"], typer.Argument(metavar="list|verify|gc")]
AllOption = Annotated[bool, typer.Option("--all", help="list: show every entry, not only builds and runs.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="gc: remove; without this option gc only shows what it would remove.")
]
DropOption = Annotated[
    list[str] | None, typer.Option("--drop", metavar="KEY", help="gc: also remove this build or run; repeatable.")
]
AgeOption = Annotated[
    float, typer.Option("--older-than", metavar="HOURS", min=0, help="gc: remove nothing younger than this.")
]


def store(
    action: ActionArgument,
    store: StoreOption = DEFAULT_STORE,
    every: AllOption = False,
    yes: YesOption = False,
    drop: DropOption = None,
    older_than: AgeOption = 24.0,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """List the outputs of a store, verify all checksums, or remove outputs that nothing needs."""
    opened = Store(store)
    opened.check()
    if not opened.is_remote and not opened.root.is_dir():
        raise RequestError(f"--store {store}: no such folder")
    if action == "list":
        _list(take_inventory(opened), every=every, as_json=as_json)
    elif action == "verify":
        _verify(verify_store(opened), as_json=as_json)
    else:
        garbage = find_garbage(opened, drop=drop or (), age_seconds=older_than * 3600)
        value = {"removed": yes, **garbage.to_json()}
        if yes:
            remove_garbage(opened, garbage)
        _gc(garbage, value, as_json=as_json)


def _list(inventory: Inventory, *, every: bool, as_json: bool) -> None:
    if as_json:
        emit_json(inventory.to_json())
        return
    needed, referred = inventory.needed_by(inventory.roots), inventory.referred_by
    stages: dict[str, list[Entry]] = {}
    for entry in inventory.entries.values():
        stages.setdefault(entry.stage, []).append(entry)
    rows = [
        [
            stage,
            count(len(entries)),
            count(sum(entry.bytes for entry in entries)),
            count(sum(entry.name in needed for entry in entries)),
            count(sum(entry.state == "unfinished" for entry in entries)),
            _age(max(entry.modified for entry in entries)),
        ]
        for stage, entries in stages.items()
    ]
    columns = ("stage", "entries", "bytes", "needed", "unfinished", "age")
    stdout.print(f"store {escape(inventory.store)}", soft_wrap=True)
    stdout.print(table("Stages", columns, rows))
    results = [entry for entry in inventory.entries.values() if entry.stage in ROOTS]
    stdout.print(_results(sorted(results, key=lambda entry: -entry.modified)))
    if every:
        stdout.print(_entries(list(inventory.entries.values()), referred))
    if inventory.attempts:
        stdout.print(f"{len(inventory.attempts)} scratch folders; `mixproof store gc --yes` removes stale ones")


def _results(entries: Sequence[Entry]) -> Table:
    """Builds, runs and searches, the newest first, each by the names that other commands take."""
    rows = [
        [
            entry.spec,
            entry.label or NAMES.get(entry.stage, entry.stage),
            short_key(entry.key),
            f"{datetime.fromtimestamp(entry.modified):%Y-%m-%d}",
            f"{amount(entry.bytes)}B",
            entry.state,
        ]
        for entry in entries
    ]
    columns = ("spec", "run or build", "key", "date", "size", "state")
    return table("Builds and runs", columns, rows, text_columns=2)


def _entries(entries: Sequence[Entry], referred: dict[str, tuple[str, ...]]) -> object:
    rows = [
        [
            entry.stage,
            short_key(entry.key),
            entry.label or entry.state,
            count(entry.bytes),
            _age(entry.modified),
            count(len(entry.refers_to)),
            count(len(referred[entry.name])),
        ]
        for entry in entries
    ]
    columns = ("stage", "key", "label or state", "bytes", "age", "refers to", "referred to by")
    return table("Entries", columns, rows, text_columns=3)


def _verify(verified: Verified, *, as_json: bool) -> None:
    if as_json:
        emit_json(verified.to_json())
    elif verified.ok:
        stdout.print(
            f"[green]store intact[/]: {verified.files:,} files, {verified.bytes:,} bytes match their checksums"
        )
    else:
        rows = [[file.file, file.expected, file.found] for file in verified.wrong]
        title = f"{len(verified.wrong)} of {verified.files:,} files do not match their records"
        stdout.print(table(title, ("file", "expected", "found"), rows, text_columns=3))
    if verified.unfinished and not as_json:
        stdout.print(f"{len(verified.unfinished)} unfinished outputs; they are made again when a command needs them")
    if not verified.ok:
        raise typer.Exit(1)


def _gc(garbage: Garbage, value: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        emit_json(value)
        return
    stages: dict[str, list[Entry]] = {}
    for entry in garbage.entries:
        stages.setdefault(entry.stage, []).append(entry)
    rows = [
        [stage, count(len(entries)), count(sum(entry.bytes for entry in entries))] for stage, entries in stages.items()
    ]
    title = "Removed" if value["removed"] else "Would be removed"
    stdout.print(table(title, ("stage", "entries", "bytes"), rows))
    stdout.print(f"{len(garbage.attempts)} scratch folders; {value['bytes']:,} bytes in total")
    if garbage.kept_for_age:
        stdout.print(f"{garbage.kept_for_age} unneeded entries are younger than --older-than and are kept")
    if garbage.unknown:
        names = ", ".join(garbage.unknown)
        stdout.print(
            f"nothing in {escape(names)} is finished; it may belong to something else and is kept", soft_wrap=True
        )
    if not value["removed"]:
        stdout.print("nothing was removed; add --yes to remove (a later build makes again what it needs)")


def _age(modified: float) -> str:
    hours = max(0.0, time.time() - modified) / 3600
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.1f} d"
