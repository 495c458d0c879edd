"""The identity of an input file: the SHA-256 of its content, independent of its name and location.

Hashes are remembered in the store by (URL, size, ETag or modification time), one receipt per batch of files, so a later
command reads only new files. A file replaced by another of the same size and time is not noticed; reading checks that
size and time are still those of the identified file. A remote file whose store gives neither ETag nor time is hashed by
every command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.receipts import find_receipts
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.readers.raw import blocks_from
from mixproof.pipeline.readers.remote import is_of_this_process, is_remote

from .batches import share_tasks
from .files import InputFile

STAGE = "identify"
VERSION = 2
BATCH_BYTES = 256 * 1000 * 1000
BATCH_FILES = 2000

Seen = tuple[str, int, int, str]
"""URL, bytes, modification time in ns (local), tag (remote)."""


def identify(files: Iterable[InputFile], store: Store, cluster: Cluster) -> dict[str, str]:
    """SHA-256 in hexadecimal by URL; only files that the store does not know yet are read.

    Raises:
        RequestError: when a file changes while it is hashed.
    """
    seen_of = {file.url: _seen(file) for file in files}
    known = _known(store)
    new = sorted(seen for seen in seen_of.values() if seen not in known)
    here = [seen for seen in new if is_of_this_process(seen[0])]
    for batch in _shared(here):
        known.update(_hash_batch(store, batch))
    calls = [(store, batch) for batch in _shared([seen for seen in new if seen not in known])]
    for hashed in cluster.run(_hash_batch, calls, label="identify"):
        known.update(hashed)
    return {url: known[seen] for url, seen in seen_of.items()}


def recall(files: Iterable[InputFile], store: Store) -> dict[str, str]:
    """SHA-256 by URL of the files that the store knows; reads no file."""
    known = _known(store)
    return {file.url: known[seen] for file in files if (seen := _seen(file)) in known}


def _seen(file: InputFile) -> Seen:
    return (file.url, file.bytes, file.mtime_ns, file.tag)


def _known(store: Store) -> dict[Seen, str]:
    """Hashes of earlier commands, without remote files that cannot be distinguished from later versions."""
    known: dict[Seen, str] = {}
    for receipt in find_receipts(store, STAGE, store.keys(STAGE)).values():
        for url, size, mtime, tag, sha256 in receipt.facts["files"]:
            if tag or not is_remote(url):
                known[url, size, mtime, tag] = sha256
    return known


def _shared(files: Sequence[Seen]) -> list[tuple[Seen, ...]]:
    return share_tasks(files, lambda seen: seen[1], most_bytes=BATCH_BYTES, most_items=BATCH_FILES)


def _hash_batch(store: Store, batch: Sequence[Seen]) -> dict[Seen, str]:
    hashed = {seen: hash_input(*seen) for seen in batch}
    rows = [[*seen, sha256] for seen, sha256 in hashed.items()]
    with store.attempt(STAGE, stage_key(STAGE, VERSION, {}, rows)) as attempt:
        attempt.commit(facts={"files": rows})
    return hashed


def hash_input(url: str, size: int, _mtime_ns: int = 0, _tag: str = "") -> str:
    """SHA-256 of a file's content.

    Raises:
        RequestError: when the file cannot be read, or its size has changed since it was found.
    """
    digest, read = hashlib.sha256(), 0
    try:
        for block in blocks_from(url, 0):
            digest.update(block)
            read += len(block)
    except OSError as error:
        raise RequestError(f"{url}: cannot be read: {error.strerror or error}") from error
    if read != size:
        raise RequestError(
            f"{url}: {size} bytes when found, {read} when read; wait until it is complete, then run again"
        )
    return digest.hexdigest()
