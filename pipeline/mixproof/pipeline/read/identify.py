"""The identity of an input file: the SHA-256 of its content, independent of its name and location.

Hashes are remembered in the store by (URL, size, modification time, change time of the inode, or ETag), one receipt per
batch of files, so a later command reads only new files. Version and hash are taken from one content (`hash_file`), so a
file that is replaced between the moments when it is found and hashed cannot leave another content's hash behind. A
remote file whose store gives neither ETag nor time is hashed by every command.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.shown_text import unsigned
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipts import find_receipts
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.inputs.files import InputFile, with_their_attributes
from mixproof.pipeline.readers.remote import is_of_this_process, is_remote
from mixproof.pipeline.readers.unchanged import FileVersion, check_found, hash_file

from .batches import share_tasks

STAGE = "identify"
VERSION = 3
"""3: a file's version and its hash are of one content; hashes of earlier versions are not used."""
BATCH_BYTES = 256 * 1000 * 1000
BATCH_FILES = 2000
SMALL_BYTES = 64 * 1000 * 1000
"""New files of fewer bytes are hashed in this process, in 0.1 s, unless only the nodes of a cluster may reach them. A
command that finds all outputs of files that were only touched or copied then starts no Ray."""

Seen = tuple[str, int, int, int, str]
"""URL, bytes, modification time and inode change time in ns (local), tag (remote)."""
_log = logging.getLogger(__name__)


def identify(files: Iterable[InputFile], store: Store, cluster: Cluster) -> dict[str, str]:
    """SHA-256 in hexadecimal by URL, of attributes too; only files that the store does not know yet are read.

    Raises:
        RequestError: when a file changes while it is hashed, or has changed since it was found.
    """
    seen_of = {file.url: _seen(file) for file in with_their_attributes(files)}
    remembered = {url: _remembered(seen) for url, seen in seen_of.items()}
    known = _known(store)
    new = sorted(seen for url, seen in seen_of.items() if remembered[url] not in known)
    is_small = not cluster.is_shared and len(new) <= BATCH_FILES and sum(seen[1] for seen in new) < SMALL_BYTES
    here = [seen for seen in new if is_of_this_process(seen[0]) or (is_small and not is_remote(seen[0]))]
    for batch in _shared(here):
        known.update(_hash_batch(store, batch))
    calls = [(store, batch) for batch in _shared([seen for seen in new if remembered[seen[0]] not in known])]
    sizes = [sum(size for _, size, *_ in batch) for _, batch in calls]
    for hashed in cluster.run(_hash_batch, calls, label="identify", call_bytes=sizes):
        known.update(hashed)
    return {url: known[seen] for url, seen in remembered.items()}


def recall(files: Iterable[InputFile], store: Store) -> dict[str, str]:
    """SHA-256 by URL of the files that the store knows; reads no file."""
    known, all_files = _known(store), with_their_attributes(files)
    return {file.url: known[seen] for file in all_files if (seen := _remembered(_seen(file))) in known}


def _seen(file: InputFile) -> Seen:
    return (file.url, file.bytes, file.mtime_ns, file.ctime_ns, file.tag)


def _remembered(seen: Seen) -> Seen:
    """What the store remembers of a file: its URL without credentials, so that a link signed again finds it too."""
    return (unsigned(seen[0]), *seen[1:])


def _known(store: Store) -> dict[Seen, str]:
    """Hashes of earlier commands, without remote files that cannot be distinguished from later versions."""
    known: dict[Seen, str] = {}
    for receipt in find_receipts(store, STAGE, store.keys(STAGE)).values():
        if receipt.facts.get("version") != VERSION:
            continue
        for url, size, mtime, ctime, tag, sha256 in receipt.facts["files"]:
            if tag or not is_remote(url):
                known[url, size, mtime, ctime, tag] = sha256
    return known


def _shared(files: Sequence[Seen]) -> list[tuple[Seen, ...]]:
    return share_tasks(files, lambda seen: seen[1], most_bytes=BATCH_BYTES, most_items=BATCH_FILES)


def _hash_batch(store: Store, batch: Sequence[Seen]) -> dict[Seen, str]:
    hashed: dict[Seen, str] = {}
    rows = []
    for seen in batch:
        row, sha256 = _hash(seen)
        hashed[_remembered(seen)] = sha256
        rows.append([*_remembered(row), sha256])
        _log.debug("%s: SHA-256 %s", seen[0], sha256)
    with store.attempt(STAGE, stage_key(STAGE, VERSION, {}, rows)) as attempt:
        attempt.commit(facts={"version": VERSION, "files": rows})
    return hashed


def _hash(seen: Seen) -> tuple[Seen, str]:
    """The version that was hashed, to be remembered, and its SHA-256.

    Raises:
        RequestError: when size, modification time or tag are not those of the file that was found.
    """
    url, size, mtime, _, tag = seen
    version, sha256 = hash_file(url)
    check_found(url, FileVersion(size, mtime, tag=tag), version)
    return (url, version.bytes, version.mtime_ns, version.ctime_ns, version.tag), sha256


def hash_input(url: str, size: int) -> str:
    """SHA-256 of a file's content.

    Raises:
        RequestError: when the file cannot be read, changes meanwhile, or has not this size.
    """
    version, sha256 = hash_file(url)
    if version.bytes != size:
        raise RequestError(
            f"{url}: {size} bytes when found, {version.bytes} when read; wait until it is complete, then run again"
        )
    return sha256
