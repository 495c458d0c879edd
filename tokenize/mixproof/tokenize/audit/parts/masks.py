"""The masks of a part of conversations: one byte per token, 1 where the token is supervised, and what rows say of them.

The columns of such a part depend on the kind of its source; numbers that a record lacks are null. A mask is checked
without the code that wrote it: its size, its values, its sum, and the sum over each document.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.tokenize.audit.report import Checks

PLAIN_COLUMNS = {
    "document": "int64",
    "file": "string",
    "record": "int64",
    "id": "string",
    "text_xxh128": "string",
    "text_bytes": "int64",
    "tokens": "int32",
}
MARKED_COLUMNS = {"supervised_tokens": "int64", "prompt_xxh128": "string"}
PAIR_COLUMNS = {"answer": "string", "rating": "double", "margin": "double"}


@dataclass(frozen=True)
class Form:
    """The form of a source's parts."""

    kind: str | None = None
    """None for plain documents."""
    attributes: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, str]:
        """The columns of its provenance, in order, with their types."""
        if self.kind is None:
            return PLAIN_COLUMNS
        rated = {f"attribute.{name}": "double" for name in self.attributes}
        return PLAIN_COLUMNS | MARKED_COLUMNS | (PAIR_COLUMNS if self.kind == "preferences" else rated)

    @property
    def nullable(self) -> list[str]:
        """The columns that may contain nulls: numbers that a record need not have."""
        return [name for name, kind in self.columns.items() if kind == "double"]

    @property
    def together(self) -> int:
        """Documents of one record: 2 for a pair of answers."""
        return 2 if self.kind == "preferences" else 1


PLAIN = Form()


def form_of(source: SourceRecord) -> Form:
    """The form of a source's parts, by the manifest."""
    return Form(source.kind, source.attributes)


def check_mask(
    path: Path, part: DatasetRecord, lengths: NDArray[np.int32], provenance: Path | None, checks: Checks
) -> None:
    """Check a part's mask; its checksum has been verified.

    Args:
        path: the mask.
        part: the part in the manifest.
        lengths: [documents] tokens of each document, from the index.
        provenance: the part's provenance; None if that failed its checks.
        checks: receives the results.
    """
    mask = np.fromfile(path, np.uint8)
    if not checks.equal("E5", "values in the mask", part.tokens, len(mask)):
        return
    checks.true("E5", not len(mask) or int(mask.max()) <= 1, "a mask of 0 and 1", "other values")
    checks.equal("E5", "supervised tokens by the mask", part.supervised_tokens, int(np.count_nonzero(mask)))
    if provenance is None:
        return
    stated = pq.read_table(provenance, columns=["supervised_tokens"], partitioning=None).column(0).to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)[:-1]])
    found = np.add.reduceat(mask, starts, dtype=np.int64) if len(lengths) else np.zeros(0, np.int64)
    wrong = int(np.count_nonzero(found != stated)) if len(found) == len(stated) else len(stated)
    checks.equal("E5", "documents with other supervised tokens than stated", 0, wrong)
