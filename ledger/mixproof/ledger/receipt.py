"""Receipts: the record beside a stage's output, written last, which makes the output a finished one.

A receipt is canonical JSON with a checksum of its own behind it: a last field, `sha256`, of all that stands before.
Nothing else holds the numbers of a shard (its account, its facts), so a bit that flips in them must not look like
another number: a receipt that does not hold counts as missing, and the output is made again.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict

from .account import StageRow
from .fingerprint import canonical_json

RECEIPT = "receipt.json"
MARK = b',"sha256":"'


class StoredFile(BaseModel):
    """One file of an output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int


class Receipt(BaseModel):
    """The record beside an output: what it is made of, what was done, what came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    files: dict[str, StoredFile]
    account: tuple[StageRow, ...] = ()
    facts: dict[str, Any] = {}
    """Small numbers and names that later stages need without opening the files; plain JSON."""

    def to_bytes(self) -> bytes:
        """The receipt file's bytes."""
        return seal(canonical_json(self.model_dump(mode="json")))


def read_receipt(raw: bytes) -> Receipt:
    """Read a receipt file's bytes.

    Raises:
        ValueError: when they are not what `Receipt.to_bytes` gave, to the last bit.
    """
    return Receipt.model_validate_json(unseal(raw))


def seal(fields: bytes) -> bytes:
    """A JSON object with a last field `sha256`, of its bytes without that field."""
    return fields[:-1] + MARK + hashlib.sha256(fields).hexdigest().encode() + b'"}'


def unseal(raw: bytes) -> bytes:
    """The bytes that were sealed.

    Raises:
        ValueError: when the checksum is missing or another.
    """
    body, _, end = raw.rpartition(MARK)
    fields = body + b"}"
    if end != hashlib.sha256(fields).hexdigest().encode() + b'"}':
        raise ValueError("its own checksum, the last field, does not hold for it")
    return fields
