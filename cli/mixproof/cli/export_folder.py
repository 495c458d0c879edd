"""Where an export is written: a folder, or the place of a URL, to which its files go when all of them are there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.objects import Objects, is_remote


@contextmanager
def export_folder(output: str) -> Iterator[Path]:
    """Give the folder to write; a URL's files are put when the block ends without an error.

    Raises:
        RequestError: when something is at the URL already, or it cannot be used.
    """
    if not is_remote(output):
        yield Path(output.removeprefix("file://"))
        return
    with tempfile.TemporaryDirectory(prefix="mixproof-") as scratch:
        folder = Path(scratch, "export")
        objects = Objects(output, folder)
        objects.check()
        if objects.find(""):
            raise RequestError(f"{output}: there is something already; name a place that is empty")
        yield folder
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            objects.upload(path.relative_to(folder).as_posix())
