"""An output folder that is written completely or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixproof.ledger.errors import RequestError


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield a scratch folder that is renamed to `path` when the block succeeds, and deleted otherwise.

    Raises:
        RequestError: when `path` exists and is not an empty folder.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RequestError(f"{path}: already exists and is not an empty folder; choose another output folder")
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if path.exists():
            path.rmdir()
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
