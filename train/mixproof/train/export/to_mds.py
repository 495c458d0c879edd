"""Export of a mixture for MosaicML Streaming: one MDS dataset a source, one sample a document.

    <source>/shard.00000.mds    samples with columns `file`, `id` (str), `record` (int) and `tokens` (ndarray:int32)
    <source>/index.json         shards and their samples
    streams.json                proportion of each source, one file a phase: `Stream(local=..., proportion=...)`
    mixture.json                counts and shares

Form: github.com/mosaicml/streaming, `streaming/base/format/mds` (version 2). A shard is the number of samples, their
offsets, the columns as JSON, and the samples: sizes of the columns without a fixed size, then the columns in the order
of their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .export_mixture import ExportedFiles, TrainerFormat
from .mixture_data import SourceData, documents_of

SHARD_BYTES = 1 << 26
"""Largest shard, unless one document alone is larger."""
COLUMNS: Mapping[str, tuple[str, int | None]] = {
    "file": ("str", None),
    "id": ("str", None),
    "record": ("int", 8),
    "tokens": ("ndarray:int32", None),
}
"""Encoding and fixed size of each column, by name."""


def _write_shares(export: ExportedFiles) -> None:
    for path, phase in export.phase_files("streams", ".json"):
        streams = [
            {"local": f"{export.location}/{source}", "proportion": samples / phase.windows}
            for source, samples in sorted(phase.samples_of.items())
        ]
        path.write_text(json.dumps(streams, indent=1) + "\n")


def _write_source(source: SourceData, export: Path) -> list[str]:
    """Write the shards and the index of a source; return their names, relative to the export."""
    folder = export / source.name
    folder.mkdir(parents=True)
    shards = []
    for number, samples in enumerate(_shards(source)):
        name = f"shard.{number:05d}.mds"
        with (folder / name).open("wb") as file:
            _write_shard(samples, file)
        shards.append(_shard_entry(name, (folder / name).stat().st_size, len(samples)))
    index = {"version": 2, "shards": shards}
    (folder / "index.json").write_text(json.dumps(index, sort_keys=True))
    return [f"{source.name}/{shard['raw_data']['basename']}" for shard in shards] + [f"{source.name}/index.json"]


def _shards(source: SourceData) -> Iterator[list[bytes]]:
    """The samples of a source, divided into shards."""
    shard: list[bytes] = []
    size = empty = 8 + len(_config())
    for part in source.parts:
        for documents in documents_of(part):
            ends = np.cumsum(documents.lengths, dtype=np.int64)
            columns = [documents.rows[name].to_pylist() for name in ("file", "id", "record")]
            for end, length, file, id_, record in zip(ends.tolist(), documents.lengths.tolist(), *columns, strict=True):
                sample = _sample(file, id_ or f"{file}#{record}", record, documents.ids[end - length : end])
                if shard and size + len(sample) + 4 > SHARD_BYTES:
                    yield shard
                    shard, size = [], empty
                shard.append(sample)
                size += len(sample) + 4
    if shard:
        yield shard


def _sample(file: str, id_: str, record: int, ids: NDArray[np.integer]) -> bytes:
    values = np.ascontiguousarray(ids, np.int32)
    width = next(width for width, bits in enumerate((8, 16, 32, 64)) if len(values) < 1 << bits)
    shape = bytes([1 << 2 | width]) + len(values).to_bytes(1 << width, "little")
    columns = [file.encode(), id_.encode(), record.to_bytes(8, "little", signed=True), shape + values.tobytes()]
    sizes = [len(columns[0]), len(columns[1]), len(columns[3])]
    return np.array(sizes, np.uint32).tobytes() + b"".join(columns)


def _write_shard(samples: list[bytes], file: BinaryIO) -> None:
    config = _config()
    offsets = np.cumsum([0, *map(len, samples)]) + 4 * (len(samples) + 2) + len(config)
    file.write(np.uint32(len(samples)).tobytes() + offsets.astype(np.uint32).tobytes() + config)
    file.writelines(samples)


def _config() -> bytes:
    return json.dumps(_form(), sort_keys=True).encode()


def _form() -> dict[str, object]:
    return {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": SHARD_BYTES,
        "column_names": list(COLUMNS),
        "column_encodings": [encoding for encoding, _ in COLUMNS.values()],
        "column_sizes": [size for _, size in COLUMNS.values()],
    }


def _shard_entry(name: str, size: int, samples: int) -> dict[str, Any]:
    raw = {"basename": name, "bytes": size, "hashes": {}}
    return {**_form(), "raw_data": raw, "zip_data": None, "samples": samples}


MDS = TrainerFormat("mds", _write_source, _write_shares)
