"""Receipts of the outputs that a record names: each must exist, be intact, and state the same checksums as the record.

A receipt is stored beside its output or in a sealed table: `sealed/*/receipts.parquet` has one row per output with the
bytes of its receipt.

Stages reuse an output only if it has a receipt, so a missing or edited receipt is a failure even if all files are
intact. The format is parsed here independently of the writer: canonical JSON whose last field, `sha256`, is the
SHA-256 of everything before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .checksums import is_inside
from .report import Checks

RECEIPT = "receipt.json"
SEALED = "sealed/*/receipts.parquet"
MARK = b',"sha256":"'


def check_receipts(root: Path, named: Mapping[str, str], checks: Checks) -> None:
    """Check the receipt of every output that contains one of these files.

    Args:
        root: the store's folder.
        named: SHA-256 by file name relative to the store (`<stage>/<key>/<name>`). Names that lead outside the store
            are skipped here; they fail when their file is read.
        checks: receives the results; a failure names the receipt.
    """
    folders: dict[str, dict[str, str]] = {}
    for file, sha256 in named.items():
        if is_inside(file):
            stage, key, name = (*file.split("/", maxsplit=2), "", "")[:3]
            folders.setdefault(f"{stage}/{key}", {})[name] = sha256
    apart = _read_sealed(root, [folder for folder in folders if not (root / folder / RECEIPT).is_file()], checks)
    for folder, files in folders.items():
        found = _valid_receipt(root, folder, checks, apart.get(folder))
        if found is not None:
            differ = sorted(name for name, sha256 in files.items() if _content_sha256(found, name) != sha256)
            at = checks.at(file=str(root / folder / RECEIPT))
            at.equal("checksum", "as files whose checksum differs in the receipt", [], differ)


def _read_sealed(root: Path, folders: Iterable[str], checks: Checks) -> dict[str, bytes]:
    """The bytes of sealed receipts, by the folders of their outputs."""
    folder_of = {folder.rpartition("/")[2]: folder for folder in folders}
    found: dict[str, bytes] = {}
    for path in sorted(root.glob(SEALED)) if folder_of else ():
        try:
            for key, raw in _rows_of(path):
                if key in folder_of:
                    found.setdefault(folder_of[key], raw)
        except (OSError, pa.ArrowException) as error:
            checks.at(file=str(path)).true("checksum", False, "a Parquet file of receipts", str(error).splitlines()[0])
    return found


def _rows_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Key and receipt of each row of a sealed table."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, ["key", "receipt"])
            yield from zip(rows["key"].to_pylist(), rows["receipt"].to_pylist(), strict=True)


def _one_sealed(root: Path, folder: str) -> bytes:
    """The bytes of one sealed receipt; empty if there is none. Thousands are looked up, one for each source."""
    tables, key = root / "sealed", folder.rpartition("/")[2]
    if not tables.is_dir():
        return b""
    for path in _tables_by_key(root, tables.stat().st_mtime_ns).get(key, ()):
        with suppress(OSError, pa.ArrowException):
            status = path.stat()
            raw = _table(path, status.st_mtime_ns, status.st_size).get(key)
            if raw is not None:
                return raw
    return b""


@lru_cache(1)
def _tables_by_key(root: Path, mtime_ns: int) -> dict[str, list[Path]]:
    """The sealed tables that have each key; `mtime_ns`: of their folder, which changes when one is added."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.glob(SEALED)):
        with suppress(OSError, pa.ArrowException), pq.ParquetFile(path) as file:
            for key in file.read(["key"])["key"].to_pylist():
                found.setdefault(key, []).append(path)
    return found


@lru_cache(8)
def _table(path: Path, mtime_ns: int, size: int) -> dict[str, bytes]:
    """The receipts of one sealed table, by key; `mtime_ns` and `size` identify its state."""
    return dict(_rows_of(path))


def _content_sha256(files: Mapping[str, Mapping[str, str]], name: str) -> str | None:
    """What records name a file by: the SHA-256 of the rows of a Parquet file, else of its bytes."""
    file = files.get(name, {})
    return file.get("rows_sha256", file.get("sha256"))


def receipt_files(root: Path, folder: str) -> dict[str, dict[str, str]]:
    """The files in the receipt of the output `<stage>/<key>`, by name; empty if it has no valid receipt."""
    path = root / folder / RECEIPT
    raw = path.read_bytes() if path.is_file() else _one_sealed(root, folder)
    receipt = _receipt(raw)
    return {} if receipt is None else receipt.get("files", {})


def sealed_files(root: Path, folder: str, checks: Checks) -> dict[str, str] | None:
    """SHA-256 by name of the files in an output's receipt; None and a failure if the receipt is not valid."""
    files = _valid_receipt(root, folder, checks, None)
    return None if files is None else {name: file["sha256"] for name, file in files.items()}


def _valid_receipt(root: Path, folder: str, checks: Checks, raw: bytes | None) -> dict[str, dict[str, str]] | None:
    """The files in an output's receipt by name; None and a failure if the receipt is not valid.

    Args:
        root: the store's folder.
        folder: `<stage>/<key>`.
        checks: receives the results.
        raw: the receipt's bytes, if they were sealed; None if the receipt is stored beside the output.
    """
    path = root / folder / RECEIPT
    at = checks.at(file=str(path))
    try:
        raw = path.read_bytes() if raw is None else raw
    except OSError as error:
        at.true("checksum", False, "the receipt of a finished output", f"unreadable file: {error.strerror}")
        return None
    receipt = _receipt(raw)
    at.true("checksum", receipt is not None, "a receipt with its own checksum", "another checksum")
    if receipt is None:
        return None
    if not at.equal("checksum", "as the folder of the output", folder, f"{receipt.get('stage')}/{receipt.get('key')}"):
        return None
    files: dict[str, dict[str, str]] = receipt.get("files", {})
    return files


def unsealed(raw: bytes) -> dict[str, Any] | None:
    """The JSON object whose last field, `sha256`, is the SHA-256 of everything before it; None if it is not."""
    body, _, end = raw.rpartition(MARK)
    fields = body + b"}"
    if end != hashlib.sha256(fields).hexdigest().encode() + b'"}':
        return None
    try:
        found: dict[str, Any] = json.loads(fields)
    except (ValueError, RecursionError):  # another team may have computed the checksum of anything
        return None
    return found


def _receipt(raw: bytes) -> dict[str, Any] | None:
    """A receipt as `unsealed` reads it; None if its files have no checksums."""
    found = unsealed(raw)
    files = found.get("files", {}) if isinstance(found, dict) else None
    if not isinstance(files, dict):
        return None
    stated = [isinstance(file, dict) and isinstance(file.get("sha256"), str) for file in files.values()]
    return found if all(stated) else None


def files_of(
    prefix: str, bin_sha256: str, idx_sha256: str, provenance_sha256: str, mask_sha256: str | None = None
) -> dict[str, str]:
    """SHA-256 of the files of a part or a draw, by file name relative to the store."""
    files = {f"{prefix}.bin": bin_sha256, f"{prefix}.idx": idx_sha256, f"{prefix}.parquet": provenance_sha256}
    return files if mask_sha256 is None else files | {f"{prefix}.mask": mask_sha256}
