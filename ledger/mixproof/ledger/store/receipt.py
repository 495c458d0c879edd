"""Receipts: the record beside a stage's output. It is written last and marks the output as finished.

A receipt is canonical JSON that ends with its own checksum: the last field, `sha256`, covers everything before it.
Nothing else records the numbers of a shard (its account and facts), so a flipped bit must not pass for another
number: a receipt whose checksum fails counts as missing, and the output is made again.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from mixproof.ledger.account import StageRow
from mixproof.ledger.fingerprint import compact_json
from mixproof.ledger.frozen_model import FrozenModel

RECEIPT = "receipt.json"
PACKS = "packs"
"""The stage of packs."""
FILES = "files.zip"
MARK = b',"sha256":"'


class StoredFile(FrozenModel):
    """One file of an output."""

    sha256: str
    """SHA-256 of the file's bytes."""
    bytes: int
    rows_sha256: str | None = None
    """SHA-256 of the rows of a Parquet file (`content.py`); None for other files."""

    @property
    def content_sha256(self) -> str:
        """SHA-256 of the content: of the rows of a Parquet file, else of the bytes. Identities are made of this one."""
        return self.rows_sha256 or self.sha256

    @model_serializer(mode="wrap")
    def _without_none(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in plain(self).items() if value is not None}


class Pack(FrozenModel):
    """The file that has the files of several small outputs (`packs.py`)."""

    key: str
    bytes: int

    @property
    def folder(self) -> str:
        """Its folder in the store."""
        return f"{PACKS}/{self.key}"

    @property
    def path(self) -> str:
        """Its path in the store."""
        return f"{self.folder}/{FILES}"


class Receipt(FrozenModel):
    """The record beside an output: its files, its account and its facts."""

    stage: str
    key: str
    files: dict[str, StoredFile]
    pack: Pack | None = None
    """What has the files; None: they are in the folder of the output."""
    account: tuple[StageRow, ...] = ()
    facts: dict[str, Any] = Field(default={})
    """Small numbers and names that later stages need without opening the files. Plain JSON."""

    @property
    def folder(self) -> str:
        """The folder of the files, relative to the store; in a pack, only `Store.open` finds them."""
        return f"{self.stage}/{self.key}" if self.pack is None else f"{self.pack.folder}/{self.key}"

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the stored files that make the output complete, by path in the store."""
        if self.pack is not None:
            return {self.pack.path: self.pack.bytes}
        return {f"{self.folder}/{name}": file.bytes for name, file in self.files.items()}

    def to_bytes(self) -> bytes:
        """The receipt file's bytes."""
        exclude = {"pack"} if self.pack is None else None
        return seal(compact_json(self.model_dump(mode="json", exclude=exclude)))


def read_receipt(raw: bytes) -> Receipt:
    """Read a receipt file's bytes.

    Raises:
        ValueError: when they differ in any bit from what `Receipt.to_bytes` returned.
    """
    return Receipt.model_validate_json(unseal(raw))


def seal(fields: bytes) -> bytes:
    """Append a field `sha256` to a JSON object: the checksum of its bytes without that field."""
    return fields[:-1] + MARK + hashlib.sha256(fields).hexdigest().encode() + b'"}'


def unseal(raw: bytes) -> bytes:
    """The bytes before `seal` added the checksum.

    Raises:
        ValueError: when the checksum is missing or wrong.
    """
    body, _, end = raw.rpartition(MARK)
    fields = body + b"}"
    if end != hashlib.sha256(fields).hexdigest().encode() + b'"}':
        raise ValueError("its own checksum (the last field) does not match")
    return fields


def is_sealed(raw: bytes) -> bool:
    """Whether these are bytes that `seal` returned."""
    try:
        unseal(raw)
    except ValueError:
        return False
    return True
