"""What the audit of a build knows about a source and about the tokenizer while it checks their parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.tokenize.audit.arithmetic import ENCODE
from mixproof.tokenize.audit.cells import Bounds
from mixproof.tokenize.audit.inputs import Inputs


@dataclass
class AuditedSource:
    """The state of the audit of one source."""

    name: str
    record: SourceRecord
    inputs: Inputs | None
    cell: tuple[Bounds, ...] = ()
    """What its documents have in common: bounds of its cell, and of the rules by which its source keeps documents."""
    labels: tuple[str, ...] = ()
    """The labels of its documents."""
    texts: pa.Table | None = None
    heldout_rows: list[pa.Table] = field(default_factory=list)
    heldout_positions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def is_adopted(self) -> bool:
        """Whether the source was adopted from `.bin/.idx`: nothing was encoded, and there are no texts."""
        return all(row.stage != ENCODE for row in self.record.ledger)


@dataclass(frozen=True)
class AuditedTokenizer:
    """The tokenizer of the build."""

    record: TokenizerRecord
    path: Path | None
    """Its file; None if that failed its checks, so that nothing can be encoded again."""
