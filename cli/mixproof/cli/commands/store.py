"""`mixproof store list | verify | gc`: what a store holds, whether it is whole, and what of it can go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from mixproof.cli.options import DEFAULT_STORE, JsonOption, StoreOption, VerboseOption
from mixproof.cli.output import count, emit_json, stdout, table
from mixproof.ledger.errors import RequestError
from mixproof.ledger.garbage import Garbage, find_garbage, remove_garbage
from mixproof.ledger.inventory import ROOTS, Entry, Inventory, take_inventory
from mixproof.ledger.store import Store
from mixproof.ledger.verify import Verified, verify_store

ActionArgument = Annotated[Literal["list", "verify", "gc"], typer.Argument(metavar="list|verify|gc")]
AllOption = Annotated[bool, typer.Option("--all", help="list: every entry, not one row a stage.")]
YesOption = Annotated[bool, typer.Option("--yes", help="gc: remove; without it gc only says what would go.")]
DropOption = Annotated[
    list[str] | None, typer.Option("--drop", metavar="KEY", help="gc: let this build or run go as well; repeatable.")
]
AgeOption = Annotated[
    float, typer.Option("--older-than", metavar="HOURS", min=0, help="gc: touch nothing that is younger.")
]
KEY_DIGITS = 16


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
    """List what a store holds, verify every checksum of it, or remove what nothing needs."""
    place = Store(store)
    place.check()
    if not place.is_remote and not place.root.is_dir():
        raise RequestError(f"--store {store}: there is no such folder")
    if action == "list":
        _list(take_inventory(place), every=every, as_json=as_json)
    elif action == "verify":
        _verify(verify_store(place), as_json=as_json)
    else:
        garbage = find_garbage(place, drop=drop or (), age_seconds=older_than * 3600)
        value = {"removed": yes, **garbage.to_json()}
        if yes:
            remove_garbage(place, garbage)
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
    stdout.print(f"store {inventory.store}", soft_wrap=True)
    stdout.print(table("Stages", columns, rows))
    shown = [entry for entry in inventory.entries.values() if every or entry.stage in ROOTS]
    stdout.print(_entries(shown, referred))
    if inventory.attempts:
        stdout.print(f"{len(inventory.attempts)} scratch folders; `mixproof store gc` removes stale ones")


def _entries(entries: Sequence[Entry], referred: dict[str, tuple[str, ...]]) -> object:
    rows = [
        [
            entry.stage,
            entry.key[:KEY_DIGITS],
            entry.label or entry.state,
            count(entry.bytes),
            _age(entry.modified),
            count(len(entry.refers_to)),
            count(len(referred[entry.name])),
        ]
        for entry in entries
    ]
    columns = ("stage", "key", "what", "bytes", "age", "refers to", "referred by")
    return table("Entries", columns, rows, text_columns=3)


def _verify(verified: Verified, *, as_json: bool) -> None:
    if as_json:
        emit_json(verified.to_json())
    elif verified.ok:
        stdout.print(f"[green]store whole[/]: {verified.files:,} files, {verified.bytes:,} bytes as recorded")
    else:
        rows = [[file.file, file.expected, file.found] for file in verified.wrong]
        title = f"{len(verified.wrong)} of {verified.files:,} files are not as recorded"
        stdout.print(table(title, ("file", "expected", "found"), rows, text_columns=3))
    if verified.unfinished and not as_json:
        stdout.print(f"{len(verified.unfinished)} outputs are not finished, and made again when a command needs them")
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
    done = "Removed" if value["removed"] else "Would go"
    stdout.print(table(done, ("stage", "entries", "bytes"), rows))
    stdout.print(f"scratch folders {len(garbage.attempts)}, {value['bytes']:,} bytes in all")
    if garbage.kept_for_age:
        stdout.print(f"{garbage.kept_for_age} entries that nothing needs are younger than --older-than and stay")
    if not value["removed"]:
        stdout.print("nothing was removed: add --yes; a later build makes what it needs of it again")


def _age(modified: float) -> str:
    hours = max(0.0, time.time() - modified) / 3600
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.1f} d"
