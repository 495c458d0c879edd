"""Large compressed files are decompressed once, in one task each, into pieces that are read as shards in parallel.

A gzip or zstd stream can only be read from its start, so a file that is read as a whole keeps one CPU busy through
every stage. Decompressing takes a hundredth of the time of the stages that follow. A piece holds about as many bytes as
the shard of a plain file, ends behind a line or a WARC record, and is compressed lightly. Read one after the other, the
pieces give the records of the file. They are needed until the file's shards have been read, and `mixproof store gc`
removes them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self, cast

import zstandard

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.ledger.store.attempts import Attempt
from mixproof.ledger.store.receipts import find_receipts
from mixproof.mixtures.blocks.source import Limits
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, run_missing
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.readers.jsonl import checked_lines
from mixproof.pipeline.readers.pieces import copy_lines
from mixproof.pipeline.readers.raw import unpacked_stream
from mixproof.pipeline.readers.remote import is_of_this_process
from mixproof.pipeline.readers.warc_records import copy_records

from .opened import opened

STAGE = "unpack"
VERSION = 1
PIECE_COMPRESSION = "zst"
LEVEL = 1
"""Of zstd: writing a piece takes less time than decompressing it from gzip."""
DIVIDED = frozenset({"jsonl", "warc", "wet"})
"""Formats whose compressed files are divided."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pieces:
    """The pieces of one file."""

    folder: str
    """Relative to the store."""
    ends: tuple[int, ...]
    """Where each ends in the decompressed content."""

    def path(self, index: int) -> str:
        """The file of a piece, relative to the store."""
        return f"{self.folder}/{_name(index)}"


def is_unpacked(file: InputFile, shard_bytes: int) -> bool:
    """Whether a file is read in pieces: a compressed file of more bytes than a shard has.

    Files with attributes are not, because attributes are joined by the order of all records.
    """
    return bool(file.compression) and file.format in DIVIDED and file.bytes > shard_bytes and not file.attributes


def unpack_files(
    files: Iterable[InputFile],
    sha256: Mapping[str, str],
    store: Store,
    cluster: Cluster,
    *,
    limits: Limits,
    shard_bytes: int,
) -> dict[InputFile, Pieces]:
    """The pieces of every large compressed file; those that the store does not have are made.

    Args:
        files: those of all sources.
        sha256: their contents, by URL.
        store: where pieces are found and written.
        cluster: runs the tasks.
        limits: on expansion.
        shard_bytes: decompressed bytes of a piece.

    Raises:
        DamagedFileError: when a file cannot be decompressed to its end.
    """
    keys = _keys(files, sha256, limits, shard_bytes)
    work = {key: file for file, key in keys.items()}

    def calls(missing: dict[str, InputFile]) -> list[Call]:
        largest_first = sorted(missing.items(), key=lambda item: (-item[1].bytes, item[0]))
        return [(store, key, file, sha256[file.url], limits, shard_bytes) for key, file in largest_first]

    done = run_missing(
        store,
        STAGE,
        work,
        calls,
        unpack_file,
        cluster,
        "unpack",
        in_driver=lambda file: is_of_this_process(file.url),
        call_bytes=lambda call: cast(InputFile, call[2]).bytes,
    )
    return {file: _pieces(done[key]) for file, key in keys.items()}


def find_pieces(
    files: Iterable[InputFile], sha256: Mapping[str, str], store: Store, *, limits: Limits, shard_bytes: int
) -> dict[InputFile, Pieces]:
    """The pieces that the store has; reads no file."""
    keys = _keys((file for file in files if file.url in sha256), sha256, limits, shard_bytes)
    found = find_receipts(store, STAGE, set(keys.values()))
    return {file: _pieces(found[key]) for file, key in keys.items() if key in found}


def _keys(
    files: Iterable[InputFile], sha256: Mapping[str, str], limits: Limits, shard_bytes: int
) -> dict[InputFile, str]:
    config = {"bytes": shard_bytes, "expansion": limits.expansion}
    return {
        file: stage_key(
            STAGE, VERSION, {"format": file.format, "compression": file.compression, **config}, [sha256[file.url]]
        )
        for file in files
        if is_unpacked(file, shard_bytes)
    }


def _pieces(receipt: Receipt) -> Pieces:
    return Pieces(f"{receipt.stage}/{receipt.key}", tuple(receipt.facts["ends"]))


def unpack_file(store: Store, key: str, file: InputFile, sha256: str, limits: Limits, piece_bytes: int) -> None:
    """Write the pieces of a file (Ray task).

    Raises:
        DamagedFileError: when it cannot be decompressed to its end.
        RequestError: when it has changed since it was identified.
    """
    assert file.compression is not None, "only compressed files are unpacked"
    with store.attempt(STAGE, key) as attempt:
        with opened(file, sha256), _PieceFiles(attempt) as pieces:
            blocks = unpacked_stream(file.url, file.compression, limits)
            if file.format == "jsonl":
                copy_lines(checked_lines(blocks, file.url), pieces, piece_bytes)
            else:
                copy_records(blocks, file.url, pieces, piece_bytes)
        attempt.commit(facts={"ends": pieces.ends})
    _log.info("%s: %d pieces, %d bytes decompressed", file.url, len(pieces.ends), pieces.ends[-1])


class _PieceFiles:
    """The files of an output, one for each piece; zstd compresses them in a thread of its own."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self.length = 0
        self.ends: list[int] = []
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self.length or not self.ends:
            self._note_end()
        else:  # the last piece ended where the file ends
            self._path.unlink()

    def write(self, data: bytes) -> None:
        """Add bytes to the current piece."""
        self._writer.write(data)
        self.length += len(data)

    def end_piece(self) -> None:
        """End the current piece."""
        self._file.close()
        self._note_end()
        self._open()

    def _note_end(self) -> None:
        self.ends.append((self.ends[-1] if self.ends else 0) + self.length)
        self.length = 0

    def _open(self) -> None:
        self._path = self._attempt.path(_name(len(self.ends)))
        compressor = zstandard.ZstdCompressor(level=LEVEL, threads=1)
        self._file = ExitStack()
        self._writer = self._file.enter_context(compressor.stream_writer(self._path.open("wb")))


def _name(index: int) -> str:
    return f"{index:06}.{PIECE_COMPRESSION}"
