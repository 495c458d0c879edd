"""An input while a task reads it: it can be opened, and is and stays the file that was identified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.readers.unchanged import FileVersion, check_content, check_found, unchanged


@contextmanager
def opened(file: InputFile, sha256: str) -> Iterator[None]:
    """Refuse a file that cannot be read, or is not, or does not stay, the one that was identified.

    Its content is hashed again only where the inode has changed although size and modification time have not, as when
    another content was given the time of the old one.

    Raises:
        RequestError: naming the file.
    """
    try:
        with unchanged(file.url) as version:
            check_found(file.url, FileVersion(file.bytes, file.mtime_ns, tag=file.tag), version)
            yield
        if version.ctime_ns != file.ctime_ns:
            check_content(file.url, version, sha256)
    except OSError as error:
        if error.filename != file.url:
            raise
        raise RequestError(
            f"source {file.source}: {file.url}: cannot be read: {error.strerror}; the file must exist, and be readable "
            "on every worker, until the command ends"
        ) from error
