"""The documents of a build's datasets that come from some raw files, from their provenance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.tokenize.audit.parts.masks import PLAIN_COLUMNS

DOCUMENT_COLUMNS = [name for name in PLAIN_COLUMNS if name != "document"]


@dataclass(frozen=True)
class ReplayedDocument:
    """A document of a dataset, from its provenance."""

    part: DatasetRecord
    first_token: int
    id: str
    text_xxh128: str
    text_bytes: int
    tokens: int
    cluster: str | None
    """Its cluster, where the source was divided by clusters."""


def documents_of(
    store: Store, source: SourceRecord, names: set[str], share: Fraction, label: str | None
) -> dict[tuple[str, int], list[ReplayedDocument]]:
    """The documents of a source in the sample that come from these files; those of an imported set do not count.

    `label` is the column of the cluster, or None. The two documents of a pair belong to one record; a sample takes
    pairs by the hash of the chosen conversation.
    """
    own = [*source.train.datasets, *(source.heldout.datasets if source.heldout.imported_from is None else ())]
    found: dict[tuple[str, int], list[ReplayedDocument]] = {}
    for part in own:
        first_token = row = 0
        for rows in _batches_of(store.path(part.provenance), label):
            columns = [rows[name].to_pylist() for name in DOCUMENT_COLUMNS]
            columns.append([None] * len(rows) if label is None else rows[label].to_pylist())
            for file, record, id_, digest, text_bytes, tokens, cluster in zip(*columns, strict=True):
                is_second = row % source.documents_per_record > 0
                row += 1
                chosen = (file, record) in found if is_second else int(digest[:8], 16) < share * (1 << 32)
                if file in names and chosen:
                    document = ReplayedDocument(part, first_token, id_, digest, text_bytes, tokens, cluster)
                    found.setdefault((file, record), []).append(document)
                first_token += tokens
    return found


def _batches_of(path: Path, label: str | None) -> Iterable[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(columns=[*DOCUMENT_COLUMNS, *([] if label is None else [label])])
