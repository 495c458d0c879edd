"""Export of a mixture for OLMo-core: token arrays with document boundaries, and its source mixture file.

    <source>/part-00000.npy       ids as `np.memmap` reads them: no header, uint16 or uint32, each document with its EOD
    <source>/part-00000.csv.gz    a line a document: first token, end, id, input file, record
    source-mixture.yaml           `SourceMixtureList`: target ratio and paths of each source, one file a phase
    mixture.json                  counts and shares

OLMo-core finds documents by their EOD, or by the first two columns of the `.csv.gz`
(`olmo_core.data.utils.iter_document_indices`). Sources keep the order of the dataset.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from pathlib import Path

import numpy as np

from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget

from .export_mixture import ExportedFiles, TrainerFormat
from .mixture_data import DatasetFiles, SourceData, documents_of


def _write_source(source: SourceData, folder: Path) -> list[str]:
    files = [f"{source.name}/part-{number:05d}.npy" for number in range(len(source.parts))]
    for part, name in zip(source.parts, files, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write_part(part, folder / name)
    return files


def _write_part(part: DatasetFiles, path: Path) -> None:
    first = 0
    with (
        path.open("wb") as ids,
        path.with_suffix(".csv.gz").open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        lines = csv.writer(text, lineterminator="\n")
        for documents in documents_of(part):
            unsigned = np.uint16 if documents.ids.dtype == np.uint16 else np.uint32
            ids.write(np.ascontiguousarray(documents.ids.astype(unsigned, copy=False)).data)
            ends = first + np.cumsum(documents.lengths, dtype=np.int64)
            starts = ends - documents.lengths
            columns = (documents.rows[name].to_pylist() for name in ("id", "file", "record"))
            lines.writerows(zip(starts.tolist(), ends.tolist(), *columns, strict=True))
            first = int(ends[-1])


def _write_shares(export: ExportedFiles) -> None:
    for path, phase in export.phase_files("source-mixture", ".yaml"):
        path.write_text(_source_mixture(phase, export))


def _source_mixture(phase: PhaseBudget, export: ExportedFiles) -> str:
    """The YAML of one phase; names in single quotes may have any sign."""
    lines = ["sources:"]
    for source in export.sources:
        samples = phase.samples_of.get(source.name, 0)
        if not samples:
            continue
        passes = max(1, math.ceil(samples * export.budget.length_of(phase) / source.tokens))
        paths = "\n".join(f"      - {_quoted(f'{export.location}/{name}')}" for name in export.files[source.name])
        lines += [
            f"  - source_name: {_quoted(source.name)}",
            f"    target_ratio: {samples / phase.windows!r}",
            f"    max_repetition_ratio: {passes}",
            f"    paths:\n{paths}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


OLMO = TrainerFormat("olmo", _write_source, _write_shares)
