"""The receipt beside an output that a record names: there, whole, and of the same checksums as the record.

Without its receipt an output does not exist for the stages that would reuse it, so one that is missing or edited is
a failure even where the files are whole. The form is read anew here: canonical JSON, and behind it the field `sha256`
of all that stands before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from .checksums import is_inside
from .report import Checks

RECEIPT = "receipt.json"
MARK = b',"sha256":"'


def check_receipts(root: Path, named: Mapping[str, str], checks: Checks) -> None:
    """Check the receipt of every output that holds one of these files.

    Args:
        root: the store's folder.
        named: SHA-256 by file, relative to the store: `<stage>/<key>/<name>`. A name that leads elsewhere is passed
            over: it is a failure where its file is to be read.
        checks: where the outcome goes; a failure names the receipt.
    """
    folders: dict[str, dict[str, str]] = {}
    for file, sha256 in named.items():
        if is_inside(file):
            stage, key, name = (*file.split("/", maxsplit=2), "", "")[:3]
            folders.setdefault(f"{stage}/{key}", {})[name] = sha256
    for folder, files in folders.items():
        _check_receipt(root, folder, files, checks)


def _check_receipt(root: Path, folder: str, files: Mapping[str, str], checks: Checks) -> None:
    found = sealed_files(root, folder, checks)
    if found is not None:
        differ = sorted(name for name, sha256 in files.items() if found.get(name) != sha256)
        at = checks.at(file=str(root / folder / RECEIPT))
        at.equal("checksum", "as files whose checksum the receipt does not share", [], differ)


def sealed_files(root: Path, folder: str, checks: Checks) -> dict[str, str] | None:
    """SHA-256 by name of the files in an output's receipt; None, with a failure that names it, where it does not hold.

    Args:
        root: the store's folder.
        folder: `<stage>/<key>`.
        checks: where the outcome goes.
    """
    path = root / folder / RECEIPT
    at = checks.at(file=str(path))
    try:
        raw = path.read_bytes()
    except OSError as error:
        at.true("checksum", False, "the receipt of a finished output", f"no readable file: {error.strerror}")
        return None
    body, _, end = raw.rpartition(MARK)
    digest = hashlib.sha256(body + b"}").hexdigest()
    if not at.true("checksum", end == f'{digest}"}}'.encode(), "a receipt with its own checksum", "another checksum"):
        return None
    receipt = json.loads(body + b"}")
    if not at.equal("schema", "as the place of the output", folder, f"{receipt.get('stage')}/{receipt.get('key')}"):
        return None
    return {name: file["sha256"] for name, file in receipt.get("files", {}).items()}


def files_of(prefix: str, bin_sha256: str, idx_sha256: str, provenance_sha256: str) -> dict[str, str]:
    """SHA-256 of the three files of a part or a draw, by their names in the store."""
    return {f"{prefix}.bin": bin_sha256, f"{prefix}.idx": idx_sha256, f"{prefix}.parquet": provenance_sha256}
