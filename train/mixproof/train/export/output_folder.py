"""A folder for other tools: all of it, or nothing."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixproof.ledger.errors import RequestError


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Give a scratch folder that becomes `path` when the block ends without an error, and vanishes otherwise.

    Raises:
        RequestError: when there is something at `path` that is no empty folder.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RequestError(f"{path}: there is something already; name a folder that does not exist, or is empty")
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if path.exists():
            path.rmdir()
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
