"""The option `--html`, and the files of a store that a page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import CIRCUMSTANCES, Manifest
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement

HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write a report: one self-contained HTML file."),
]


def check_html(path: Path | None) -> None:
    """Refuse a path that cannot be written, before any work.

    Raises:
        RequestError: when it is a folder, or its folder does not exist.
    """
    if path is not None and path.is_dir():
        raise RequestError(f"--html {path}: is a folder; name a file in it, such as {path / 'report.html'}")
    if path is not None and not path.absolute().parent.is_dir():
        raise RequestError(f"--html {path}: the folder {path.absolute().parent} does not exist; create it first")


def read_build(path: Path, manifest: Manifest) -> BuildEvidence:
    """A build by the path of its manifest."""
    return BuildEvidence(manifest, read_statement(path), read_json(path.with_name(CIRCUMSTANCES)))


def read_statement(path: Path) -> Statement:
    """A whole file, with its line endings unchanged."""
    return Statement(str(path), path.read_bytes().decode())


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON file's object; empty when there is no such file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    assert isinstance(found, dict)
    return found
