"""Canonical JSON and SHA-256: how everything in the store is named.

A fingerprint is the full SHA-256 of canonical JSON: sorted keys, no white space, UTF-8, integers
and strings unchanged. Floats are rejected: two spellings of one share would give two keys, so
quantities are integers or fractions in lowest terms. Other types are rejected too, because a
silent `str()` could give two different values the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

HASH_BLOCK_BYTES = 1 << 20
_UNCHANGED = frozenset({type(None), bool, int, str})
"""Types that canonical JSON holds as they are; looked up first, because keys of many files have many strings."""


def plain(value: object) -> object:
    """Reduce `value` to the types that canonical JSON can hold.

    Raises:
        TypeError: for floats and for any other type without a single exact form.
    """
    if isinstance(value, list | tuple):
        return [item if type(item) in _UNCHANGED else plain(item) for item in value]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"keys of a fingerprint must be strings, not {type(name).__name__}: {name!r}")
        return {name: item if type(item) in _UNCHANGED else plain(item) for name, item in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    raise TypeError(f"a {type(value).__name__} has no exact form in a fingerprint: {value!r}")


def canonical_json(value: object) -> bytes:
    """Canonical JSON of `value` as UTF-8 without white space; equal values give equal bytes."""
    return compact_json(plain(value))


def compact_json(value: object) -> bytes:
    """As `canonical_json`, of a value that `plain` would not change."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


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
    """Key of a stage's output: what is done (`version`, `config`) to which bytes (`inputs`).

    `version` is an integer that the stage raises when its output changes for the same config and
    inputs; `inputs` holds checksums, never paths.
    """
    return sha256_of(stage_identity(stage, version, config, inputs))


class StageKeys:
    """Keys of many outputs of a stage that differ only in their inputs; each equals what `stage_key` returns."""

    def __init__(self, stage: str, version: int, config: object) -> None:
        whole = canonical_json(stage_identity(stage, version, config, None))
        self._head, _, self._tail = whole.rpartition(b"null,")
        assert self._tail == canonical_json({"stage": stage, "version": version})[1:], (
            "`inputs` precedes `stage` in sorted order"
        )

    def key(self, inputs: object) -> str:
        """The key of the output made from `inputs`."""
        return hashlib.sha256(b"%b%b,%b" % (self._head, canonical_json(inputs), self._tail)).hexdigest()


def stage_identity(stage: str, version: int, config: object, inputs: object) -> dict[str, object]:
    """The value whose SHA-256 is the stage's key."""
    return {"stage": stage, "version": version, "config": config, "inputs": inputs}


def derive_seed(*names: str | int) -> int:
    """A 31-bit seed derived from names, so that seeds do not depend on the order of execution."""
    digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
