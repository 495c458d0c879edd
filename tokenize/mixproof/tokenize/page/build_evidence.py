"""What a page shows of a build: its manifest, the file that states it, and its circumstances."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mixproof.ledger.manifest import Manifest

SHORT = 12
"""Characters of a key or an id that a page shows."""


@dataclass(frozen=True)
class Statement:
    """A file that a page includes: a manifest, a record or a spec."""

    path: str
    text: str
    """The whole file, or what a page shows of it."""
    sha256_of_file: str = ""
    """SHA-256 of the file's bytes if `text` is not the whole file."""

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes; every cell of a page names it."""
        return self.sha256_of_file or hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class BuildEvidence:
    """A build and the files that state it."""

    manifest: Manifest
    statement: Statement
    circumstances: Mapping[str, Any]
    """Time, machine and versions of the build."""

    @property
    def id(self) -> str:
        """SHA-256 of the manifest file."""
        return self.statement.sha256

    @cached_property
    def first_parts(self) -> dict[str, str]:
        """The sources as deduplication saw them: by name, itself, or the first cell of a source that was divided."""
        cells = self.manifest.cells
        parts = {part for record in cells.values() for part in record.parts}
        own = {name: name for name in self.manifest.sources if name not in parts}
        return own | {name: next(iter(record.parts)) for name, record in cells.items()}

    @property
    def anchor(self) -> str:
        """HTML id of its section."""
        return f"build-{self.id[:SHORT]}"
