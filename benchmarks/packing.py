"""Best-fit packing: windows, fill and time, beside OLMo-core's packer on the same lengths.

    python benchmarks/packing.py [STORE/builds/ID/manifest.json] [--documents 1000000] [--sequence-length 2048]

Lengths are those of a build's training documents, or made up. mixproof's time is that of a whole pass: cutting,
packing, shuffling and arranging all pieces. OLMo-core's (`olmo_core.data.utils.InstancePacker`, if it is installed) is
that of its packing alone, which is best fit decreasing too. Documents longer than a window are cut before, for both.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.train.data.packing import pack_documents
from mixproof.train.data.pieces import cut_documents


def lengths_of(manifest: Path) -> NDArray[np.int32]:
    """Tokens of every training document of a build."""
    build = Manifest.model_validate_json(manifest.read_bytes())
    root = manifest.resolve().parents[2]
    parts = [part for source in build.sources.values() for part in source.train.datasets]
    return np.concatenate([read_index(root / f"{part.prefix}.idx").lengths for part in parts]).astype(np.int32)


def made_up(documents: int) -> NDArray[np.int32]:
    """Lengths like those of web pages: log-normal, median 400 tokens."""
    lengths = np.random.default_rng(1).lognormal(6, 1.2, documents)
    return np.clip(lengths, 1, 200_000).astype(np.int32)


def ours(lengths: NDArray[np.int32], sequence_length: int) -> tuple[int, float]:
    """Windows and CPU seconds."""
    begin = time.process_time()
    windows = len(pack_documents(lengths, sequence_length, 1).window_starts) - 1
    return windows, time.process_time() - begin


def olmo_core(lengths: NDArray[np.int32], sequence_length: int) -> tuple[int, float] | None:
    """Windows and CPU seconds of OLMo-core's packer; None where it is not installed."""
    try:
        from olmo_core.data.utils import InstancePacker  # type: ignore[import-not-found]
    except ImportError:
        return None
    pieces = cut_documents(lengths, sequence_length).tokens
    ends = np.cumsum(pieces, dtype=np.int64)
    indices = np.stack([ends - pieces, ends], axis=1).astype(np.uint32)
    begin = time.process_time()
    windows, _, _ = InstancePacker(sequence_length).pack_documents(indices)
    return len(windows), time.process_time() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", nargs="?", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--sequence-length", type=int, default=2048)
    arguments = parser.parse_args()
    length = arguments.sequence_length
    lengths = lengths_of(arguments.manifest) if arguments.manifest else made_up(arguments.documents)
    windows, seconds = ours(lengths, length)
    line = {
        "documents": len(lengths),
        "sequence_length": length,
        "windows": windows,
        "fill": round(int(lengths.sum(dtype=np.int64)) / (windows * length), 5),
        "cpu_seconds": round(seconds, 3),
    }
    peer = olmo_core(lengths, length)
    if peer is not None:
        line |= {
            "olmo_core_windows": peer[0],
            "olmo_core_cpu_seconds": round(peer[1], 3),
            "times": round(peer[1] / seconds, 1),
        }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
