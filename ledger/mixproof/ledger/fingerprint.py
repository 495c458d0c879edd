"""Canonical JSON and SHA-256: how everything in the store gets its name.

A fingerprint is the full SHA-256 of canonical JSON: sorted keys, no white space, UTF-8, integers
and strings as they are. Floats are refused: two spellings of one share would give two keys, so
quantities enter as integers or as strings in lowest terms. Anything else raises as well, because a
silent `str()` would let two different things share a name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

HASH_BLOCK_BYTES = 1 << 20


def plain(value: object) -> object:
    """Reduce `value` to what canonical JSON can hold.

    Raises:
        TypeError: for floats and for any type without one exact spelling.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"a fingerprint's names must be strings, not {type(name).__name__}: {name!r}")
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no exact spelling in a fingerprint: {value!r}")


def canonical_json(value: object) -> bytes:
    """Canonical JSON of `value` as UTF-8 without white space; equal values give equal bytes."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256_of(value: object) -> str:
    """Hexadecimal SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a local file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def stage_key(stage: str, version: int, config: object, inputs: object) -> str:
    """Name of a stage's output: what is done (`version`, `config`) to which bytes (`inputs`).

    `version` is the stage's own integer and rises when its output changes for the same config and
    inputs; `inputs` holds checksums, never paths.
    """
    return sha256_of(stage_identity(stage, version, config, inputs))


class StageKeys:
    """Keys of many outputs of a stage that differ in their inputs only, as `stage_key` gives each."""

    def __init__(self, stage: str, version: int, config: object) -> None:
        whole = canonical_json(stage_identity(stage, version, config, None))
        self._head, _, self._tail = whole.rpartition(b"null,")
        assert self._tail == canonical_json({"stage": stage, "version": version})[1:], "inputs come before the stage"

    def key(self, inputs: object) -> str:
        """The key of the output that is made of `inputs`."""
        return hashlib.sha256(b"%b%b,%b" % (self._head, canonical_json(inputs), self._tail)).hexdigest()


def stage_identity(stage: str, version: int, config: object, inputs: object) -> dict[str, object]:
    """What a stage's key is the SHA-256 of."""
    return {"stage": stage, "version": version, "config": config, "inputs": inputs}


def derive_seed(*names: str | int) -> int:
    """A 31-bit seed from names, so that no seed depends on the order in which things are made."""
    digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
