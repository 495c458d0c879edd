"""Packs: the files of many small outputs of one batch in one zip file, instead of some small files for each output.

The pack of a batch is `packs/<key>/files.zip`, an output like any other. A member is `<key of the output>/<name>`,
stored without compression. An output's receipt names its files as if they were beside it, and its pack. The path of a
packed file is `packs/<key of the pack>/<key of the output>/<name>`, which `Store.open` understands and `Store.path`
does not.

Only outputs between the raw files and the datasets are packed, because people and other programs read the rest by path.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from mixproof.ledger.errors import DamagedFileError
from mixproof.ledger.fingerprint import stage_key

from .receipt import FILES, PACKS, Pack

if TYPE_CHECKING:
    from .store import Store

VERSION = 1
DAMAGE = (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)
"""What zipfile raises for damage, and for what no pack has: passwords, other versions, offsets outside the file."""
OPEN_PACKS = 64
"""Packs whose list of members a process keeps: about 30 kB each."""


def write_pack(store: Store, stage: str, outputs: Mapping[str, Mapping[str, bytes]]) -> Pack:
    """Write the pack of some outputs of a stage, given as the contents of their files by name, by key."""
    digest = hashlib.sha256("\n".join(sorted(outputs)).encode()).hexdigest()
    key = stage_key(PACKS, VERSION, {"stage": stage}, [digest])
    with store.attempt(PACKS, key) as attempt:
        with zipfile.ZipFile(attempt.path(FILES), "w") as archive:
            for output, files in sorted(outputs.items()):
                for name, data in sorted(files.items()):
                    archive.writestr(zipfile.ZipInfo(f"{output}/{name}"), data)  # ZipInfo has a constant date
        receipt = attempt.commit(facts={"stage": stage})
    return Pack(key=key, bytes=receipt.files[FILES].bytes)


def read_packed(store: Store, relative: str) -> bytes:
    """The bytes of a packed file, by its path.

    Raises:
        DamagedFileError: when it is not in the pack, or does not have the checksum there.
    """
    _, key, member = relative.split("/", maxsplit=2)
    path = store.path(f"{PACKS}/{key}/{FILES}")
    status = path.stat()
    archive = _members(str(path), status.st_ino, status.st_mtime_ns)
    try:
        stated = archive.getinfo(member)
        if stated.compress_type != zipfile.ZIP_STORED or stated.file_size > status.st_size:
            raise zipfile.BadZipFile(f"{stated.file_size} bytes that are not stored as they are")
        return archive.read(stated)
    except DAMAGE as error:
        reason = f"{error}; delete its folder to make its outputs again"
        raise DamagedFileError(str(path), member, reason) from error


@lru_cache(OPEN_PACKS)
def _members(path: str, inode: int, mtime_ns: int) -> zipfile.ZipFile:
    """The pack at a path; `inode` and `mtime_ns` identify its state."""
    try:
        return zipfile.ZipFile(path)
    except DAMAGE as error:
        raise DamagedFileError(
            path, "end of the file", f"{error}; delete its folder to make its outputs again"
        ) from error
