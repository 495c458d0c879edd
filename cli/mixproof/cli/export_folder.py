"""Where an export is written: a folder, or a URL to which all files are uploaded once the export is complete."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.objects.objects import Objects
from mixproof.ledger.objects.urls import is_remote


@contextmanager
def export_folder(output: str) -> Iterator[Path]:
    """Yield the folder to write to. With a URL, files are uploaded when the block ends without an error.

    Raises:
        RequestError: when the URL is not empty, or cannot be used.
    """
    if not is_remote(output):
        yield Path(output.removeprefix("file://"))
        return
    with tempfile.TemporaryDirectory(prefix="mixproof-") as scratch:
        folder = Path(scratch, "export")
        objects = Objects(output)
        objects.check()
        if objects.find(""):
            raise RequestError(f"{output}: is not empty; name an empty location")
        yield folder
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            objects.upload(path, path.relative_to(folder).as_posix())
