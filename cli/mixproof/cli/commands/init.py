"""`mixproof init`: look at the text in a folder and write a spec for it, with comments, that `plan` accepts."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mixproof.cli.options import JsonOption, VerboseOption
from mixproof.cli.output import amount, count, emit_json, stderr, stdout, table
from mixproof.cli.request import open_request
from mixproof.cli.spec_schema import SCHEMA_FILE, write_schema
from mixproof.cli.survey.languages import detect_languages
from mixproof.cli.survey.listing import Skipped, list_folder
from mixproof.cli.survey.proposal import Proposal, propose
from mixproof.cli.survey.sources import FoundSource, find_sources
from mixproof.cli.survey.spec_text import spec_text
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import publish_bytes

from .plan import make_plan

SHOWN = 12
"""Skipped files and sources to ask about one by one."""
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with text; a single file will do.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="SPEC", help="Spec to write; default: the folder's name with .yaml, here."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Ask nothing and take what was found.")]
TextOption = Annotated[
    str | None, typer.Option("--text", metavar="FIELD", help="Field that holds the text; default: the likeliest.")
]
IdOption = Annotated[
    str | None, typer.Option("--id", metavar="FIELD", help="Field that holds the id; default: the likeliest.")
]
TokenizerOption = Annotated[
    Path | None,
    typer.Option("--tokenizer", metavar="FILE", help="SentencePiece model or tokenizer.json; default: train one."),
]


def init(
    folder: FolderArgument,
    output: OutputOption = None,
    yes: YesOption = False,
    text: TextOption = None,
    id_field: IdOption = None,
    tokenizer: TokenizerOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Look at the text in FOLDER and write a commented spec for it; asks on a terminal, unless --yes is given."""
    asks = not yes and sys.stdin.isatty()
    if not yes and not asks:
        raise RequestError("not a terminal, so nothing can be asked: give --yes to take what is found")
    spec = output or Path(f"{_name_of(folder)}.yaml")
    _check_output(spec, tokenizer)
    found, skipped = find_sources(list_folder(folder), text, id_field)
    if found and asks:
        found, tokenizer = _ask(found, tokenizer)
    if not found:
        raise RequestError(_nothing(folder, skipped))
    proposal = propose([detect_languages(source) for source in found])
    _write(spec, proposal, folder, tokenizer)
    skipped = [*skipped, *proposal.left_out]
    if as_json:
        emit_json(_json(spec, proposal, skipped))
    else:
        _print(spec, proposal, skipped)


def _name_of(folder: Path) -> str:
    """A name of an experiment."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", folder.absolute().name).strip("._-") or "corpus"


def _check_output(spec: Path, tokenizer: Path | None) -> None:
    if spec.exists():
        raise RequestError(f"{spec}: exists already; name another file with --output, or remove it")
    if not spec.absolute().parent.is_dir():
        raise RequestError(f"--output {spec}: there is no folder {spec.absolute().parent}; make it first")
    if tokenizer is not None and not tokenizer.is_file():
        raise RequestError(f"--tokenizer {tokenizer}: there is no such file")


def _ask(found: Sequence[FoundSource], tokenizer: Path | None) -> tuple[list[FoundSource], Path | None]:
    """Ask which sources to take, and for a tokenizer."""
    kept = list(found)
    if len(found) <= SHOWN:
        kept = [source for source in found if typer.confirm(f"Take {_described(source)}?", default=True, err=True)]
    elif not typer.confirm(f"Take all {len(found)} sources that were found?", default=True, err=True):
        kept = []
    if kept and tokenizer is None:
        given = typer.prompt("Tokenizer file (empty: train one)", default="", show_default=False, err=True)
        tokenizer = Path(given).expanduser() if given else None
        if tokenizer is not None and not tokenizer.is_file():
            raise RequestError(f"{tokenizer}: there is no such file")
    return kept, tokenizer


def _described(source: FoundSource) -> str:
    documents = "" if source.documents is None else f", {source.documents:,} documents"
    return f"{source.name} ({source.files:,} files{documents}, {amount(source.text_bytes)}B of text)"


def _nothing(folder: Path, skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return f"{folder}: no source was taken, so no spec was written"
    shown = [
        f"  {one.what}" + (f" ({one.files:,} files)" if one.files > 1 else "") + f": {one.reason}" for one in skipped
    ]
    more = [f"  and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    return "\n".join([f"{folder}: nothing here can be a source:", *shown[:SHOWN], *more])


def _left_out(one: Skipped) -> str:
    files = f" ({one.files:,} files)" if one.files > 1 else ""
    return f"{one.what}{files}: {one.reason}"


def _write(spec: Path, proposal: Proposal, folder: Path, tokenizer: Path | None) -> None:
    """Write the spec and the schema beside it, if `plan` accepts the spec.

    Raises:
        RequestError, SpecError: what `plan` says against it.
    """
    base = spec.absolute().parent
    root = folder if folder.is_dir() else folder.parent
    given = None if tokenizer is None else str(tokenizer.absolute())
    written = spec_text(proposal, _name_of(spec.with_suffix("")), root, base, given, SCHEMA_FILE).encode()
    with tempfile.TemporaryDirectory(prefix="mixproof-init-") as store:
        draft = base / f".{spec.name}.draft"
        try:
            draft.write_bytes(written)
            make_plan(open_request(draft, store))
        finally:
            draft.unlink(missing_ok=True)
    write_schema(base)
    publish_bytes(written, spec)


def _json(spec: Path, proposal: Proposal, skipped: Sequence[Skipped]) -> dict[str, object]:
    sources = {
        source.name: {
            "files": source.files,
            "bytes": source.bytes,
            "format": source.fields.kind or source.format,
            "text": source.fields.text or None,
            "id": source.fields.id,
            "documents": source.documents,
            "text_bytes": source.text_bytes,
            "languages": dict(source.languages),
        }
        for source in proposal.sources
    }
    left = [{"what": one.what, "files": one.files, "reason": one.reason} for one in skipped]
    return {"spec": str(spec.absolute()), "sources": sources, "skipped": left}


def _print(spec: Path, proposal: Proposal, skipped: Sequence[Skipped]) -> None:
    rows = [
        (
            source.name,
            source.fields.kind or source.format,
            count(source.files),
            "unknown" if source.documents is None else count(source.documents),
            f"{amount(source.text_bytes)}B",
        )
        for source in proposal.sources
    ]
    columns = ("source", "format", "files", "documents", "text")
    stdout.print(table("Found, estimated from a sample", columns, rows, text_columns=2))
    for one in skipped[:SHOWN]:
        stderr.print(f"left out: {escape(_left_out(one))}", soft_wrap=True)
    if len(skipped) > SHOWN:
        stderr.print(f"left out: {len(skipped) - SHOWN} more; --json lists them")
    stdout.print(f"wrote {escape(str(spec))}; look at it, then:", soft_wrap=True)
    stdout.print(f"  mixproof plan {escape(str(spec))}", soft_wrap=True)
    stdout.print(f"  mixproof run {escape(str(spec))}", soft_wrap=True)
