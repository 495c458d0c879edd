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
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import PhaseBudget, RunBudget
from mixproof.train.request import Draw

from .mixture_data import DatasetFiles, SourceData, documents_of, sources_of, write_statement
from .output_folder import output_folder


def export_olmo(
    manifest: Manifest,
    store: Store,
    names: tuple[str, str],
    budget: RunBudget,
    folder: Path,
    location: str,
    draws: Mapping[str, Draw] | None = None,
) -> list[SourceData]:
    """Write a mixture; return its sources.

    Args:
        manifest: of the build in `store`.
        store: where the datasets are.
        names: mixture and proxy.
        budget: of the run, for shares.
        folder: to write; must not exist, or be empty.
        location: path or URL under which the other trainer will find the folder.
        draws: what the runs of the proxy read; None: all training documents.

    Raises:
        RequestError: when the folder is taken.
        DamagedFileError: when a file of the store is missing or damaged.
    """
    data = sources_of(manifest, store, budget, draws)
    with output_folder(folder) as scratch:
        files = {}
        for source in data:
            files[source.name] = [f"{source.name}/part-{number:05d}.npy" for number in range(len(source.parts))]
            for part, name in zip(source.parts, files[source.name], strict=True):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                _write_part(part, scratch / name)
        for number, phase in enumerate(budget.phases):
            name = f"source-mixture-phase-{number + 1}.yaml" if len(budget.phases) > 1 else "source-mixture.yaml"
            (scratch / name).write_text(_source_mixture(phase, budget, data, files, location))
        write_statement(scratch, "olmo", manifest, budget, names, data, files, is_draw=draws is not None)
    return data


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


def _source_mixture(
    phase: PhaseBudget, budget: RunBudget, data: list[SourceData], files: Mapping[str, list[str]], location: str
) -> str:
    """The YAML of one phase; JSON strings are YAML's, so names with any sign are quoted right."""
    lines = ["sources:"]
    for source in data:
        samples = phase.samples_of.get(source.name, 0)
        if not samples:
            continue
        passes = max(1, math.ceil(samples * budget.sequence_length / source.tokens))
        paths = "\n".join(f"      - {_quoted(f'{location}/{name}')}" for name in files[source.name])
        lines += [
            f"  - source_name: {_quoted(source.name)}",
            f"    target_ratio: {samples / phase.samples!r}",
            f"    max_repetition_ratio: {passes}",
            f"    paths:\n{paths}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
