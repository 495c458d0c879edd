"""Export of a mixture for Hugging Face datasets: Parquet files of token ids, a configuration a source.

<source>/train-00000.parquet    columns `input_ids` (list of int32, EOD included), `id`, `file`, `record`
README.md                       the configurations, as `datasets.load_dataset(DIR, "<source>")` finds them
mixture.json                    counts and shares, for `datasets.interleave_datasets(..., probabilities=...)`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.mixtures.arithmetic.budget import RunBudget

from .export_mixture import ExportedFiles, TrainerFormat
from .mixture_data import MIXTURE, DatasetFiles, SourceData, documents_of

FILE_TOKENS = 1 << 27
"""Tokens of a Parquet file, unless one document alone is larger."""
SCHEMA = pa.schema(
    [
        pa.field("input_ids", pa.large_list(pa.int32())),
        pa.field("id", pa.string()),
        pa.field("file", pa.string()),
        pa.field("record", pa.int64()),
    ]
)


def _write_source(source: SourceData, folder: Path) -> list[str]:
    files: list[str] = []
    tables = (table for part in source.parts for table in _tables(part))
    waiting: pa.Table | None = next(tables, None)
    while waiting is not None:
        files.append(f"{source.name}/train-{len(files):05d}.parquet")
        path = folder / files[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        tokens = 0
        with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            while waiting is not None and (not tokens or tokens + _tokens(waiting) <= FILE_TOKENS):
                writer.write_table(waiting)
                tokens += _tokens(waiting)
                waiting = next(tables, None)
    return files


def _tokens(table: pa.Table) -> int:
    return int(sum(len(chunk.flatten()) for chunk in table["input_ids"].chunks))


def _tables(part: DatasetFiles) -> Iterator[pa.Table]:
    for documents in documents_of(part):
        offsets = np.concatenate([[0], np.cumsum(documents.lengths, dtype=np.int64)])
        ids = pa.array(np.ascontiguousarray(documents.ids, np.int32))
        column = pa.LargeListArray.from_arrays(pa.array(offsets), ids)
        yield pa.table([column, *(documents.rows[name] for name in SCHEMA.names[1:])], schema=SCHEMA)


def _write_shares(export: ExportedFiles) -> None:
    (export.folder / "README.md").write_text(_card(export.sources, export.budget))


def _card(data: Sequence[SourceData], budget: RunBudget) -> str:
    """A dataset card with a configuration a source, and the shares of the first phase."""
    configs = "\n".join(
        f'- config_name: "{source.name}"\n  data_files:\n  - split: train\n    path: "{source.name}/*.parquet"'
        for source in data
    )
    phase = budget.phases[0]
    shares = "\n".join(
        f"| {source.name} | {source.documents:,} | {source.tokens:,} | "
        f"{phase.samples_of.get(source.name, 0) / phase.windows:.4%} |"
        for source in data
    )
    return f"""\
---
configs:
{configs}
---

Token ids, one row a document, EOD included. `{MIXTURE}` has the shares of every phase.

| source | documents | tokens | share |
|---|--:|--:|--:|
{shares}
"""


DATASETS = TrainerFormat("datasets", _write_source, _write_shares)
