"""What one huge file takes: plain and compressed JSON lines, Parquet, WET, very long documents, documents of one word.

    python benchmarks/huge_file.py FOLDER [--megabytes 1000] [--shapes jsonl gz members zst ...] [--kill] [--audit]
    python benchmarks/huge_file.py FOLDER --shapes long [--long 100] [--megabytes 600]

Each shape is one file of `--megabytes` MB of text. `jsonl`, `gz` (one member), `members` (a gzip member for every 100
lines), `zst`, `parquet` (groups of 10,000 rows), `group` (Parquet, one row group) and `wet` (a gzip member for every
record) hold documents of FOLDER, `words` documents of one made-up word each. Those of `long` have `--long` MB; their
texts are of FOLDER with the words of each passage in an order of its own, so that no two documents share n-grams, and
one of them is held out. It is built by `mixproof build`, with exact deduplication, held-out sets and decontamination,
and a tokenizer that is trained beforehand. With `--kill` the build is run again in an empty store and killed after half
of its time, and the build that resumes is reported too; both must have the same build id. With `--audit` the build is
audited from its raw file, with a tenth of the documents. Reported are CPU seconds of all processes, wall time, peak
memory of the command and of its largest worker.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from command_cost import HEADER, cost_of, line_of
from growth import documents_of, write_tokenizer

ROW_GROUP = 10_000
MEMBER_LINES = 100
SHAPES = ("jsonl", "gz", "members", "zst", "parquet", "group", "wet", "long", "words")
NAMES = {"gz": "huge.jsonl.gz", "members": "huge.jsonl.gz", "zst": "huge.jsonl.zst", "wet": "huge.wet.gz"}
"""Of the files that are compressed."""
SPEC = """
schema: 1
name: huge
sources: {{all: {{files: "{file}"}}}}
dedup: {{exact: true}}
tokenizer: {{sentencepiece: {tokenizer}}}
heldout: {{create: {{tokens: 1000, min_documents: 1}}}}
mixtures: {{only: {{all: 100%}}}}
train: {{sequence_length: 512, proxies: {{nano: {{tokens: 1M, global_batch_size: 8, lr: 1.0e-3}}}}}}
"""


def texts_of_shape(shape: str, texts: Sequence[str], size: float, long_bytes: float) -> Iterator[str]:
    """Different documents of a shape, `size` bytes of them; a long one has `long_bytes`."""
    written = 0
    for text in _endless(shape, texts, long_bytes):
        yield text
        written += len(text.encode())
        if written >= size:
            return


def _endless(shape: str, texts: Sequence[str], long_bytes: float) -> Iterator[str]:
    if shape == "words":
        yield from (f"w{number:x}" for number in itertools.count())
    order = random.Random(2)  # noqa: S311  a fixed order
    for turn in itertools.count():
        if shape == "long":
            passages, size = [], 0
            while size < long_bytes:
                words = order.choice(texts).split()
                order.shuffle(words)
                passages.append(" ".join(words))
                size += len(passages[-1].encode())
            yield "\n\n".join(passages)
        else:
            yield from (f"{turn} {text}" for text in texts)


def write_huge(shape: str, texts: Sequence[str], size: float, long_bytes: float, folder: Path) -> Path:
    """Write one file of a shape."""
    documents = texts_of_shape(shape, texts, size, long_bytes)
    if shape in ("parquet", "group"):
        return _write_parquet(documents, folder / "huge.parquet", ROW_GROUP if shape == "parquet" else None)
    path = folder / NAMES.get(shape, "huge.jsonl")
    if shape == "wet":
        _write_members(map(_conversion, documents), 1, path)
        return path
    lines = ((json.dumps({"text": text}, ensure_ascii=False) + "\n").encode() for text in documents)
    if shape == "members":
        _write_members(lines, MEMBER_LINES, path)
        return path
    with contextlib.ExitStack() as stack:
        out: gzip.GzipFile | IO[bytes] | zstandard.ZstdCompressionWriter
        if shape == "gz":
            out = stack.enter_context(gzip.open(path, "wb", compresslevel=1))
        elif shape == "zst":
            raw = stack.enter_context(path.open("wb"))
            out = stack.enter_context(zstandard.ZstdCompressor(level=1).stream_writer(raw))
        else:
            out = stack.enter_context(path.open("wb"))
        for line in lines:
            out.write(line)
    return path


def _write_parquet(documents: Iterator[str], path: Path, rows: int | None) -> Path:
    """Write groups of `rows` rows, or a single group."""
    with pq.ParquetWriter(path, pa.schema([("text", pa.large_string())]), compression="zstd") as writer:
        while group := list(itertools.islice(documents, rows)):
            table = pa.table({"text": pa.array(group, pa.large_string())})
            writer.write_table(table, row_group_size=table.num_rows)
    return path


def _write_members(parts: Iterator[bytes], count: int, path: Path) -> None:
    """Write a gzip member for every `count` parts."""
    with path.open("wb") as file:
        while some := list(itertools.islice(parts, count)):
            file.write(gzip.compress(b"".join(some), compresslevel=1))


def _conversion(text: str) -> bytes:
    """A record of a WET file."""
    block = text.encode()
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\nContent-Length: {len(block)}\r\n\r\n"
    return head.encode() + block + b"\r\n\r\n"


def build_half(spec: Path, store: Path, seconds: float) -> None:
    """Start a build and kill it after some seconds, with all of its processes."""
    command = [sys.executable, "-m", "mixproof.cli", "build", str(spec), "--store", str(store), "--json"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        time.sleep(seconds)
        os.killpg(run.pid, signal.SIGKILL)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--long", type=float, default=100, help="MB of each document of the shape `long`")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        texts = documents_of(given.folder, 100)
        tokenizer = write_tokenizer(texts, Path(work) / "tok")
        print(HEADER, flush=True)
        for shape in given.shapes:
            folder = Path(work) / shape
            folder.mkdir()
            spec, store = folder / "spec.yaml", folder / "store"
            file = write_huge(shape, texts, given.megabytes * 1e6, given.long * 1e6, folder)
            spec.write_text(SPEC.format(file=file, tokenizer=tokenizer))
            cost = cost_of(store, "build", str(spec))
            print(line_of(shape, cost), f"file {file.stat().st_size / 1e6:,.0f} MB", flush=True)
            if given.kill:
                shutil.rmtree(store)
                build_half(spec, store, cost.wall_seconds / 2)
                resumed = cost_of(store, "build", str(spec))
                if resumed.answer["build"] != cost.answer["build"]:
                    sys.exit(f"{shape}: the build that resumed is another one")
                print(line_of(f"{shape} resumed half-way", resumed), flush=True)
            if given.audit:
                audit = cost_of(store, "audit", str(spec), "--depth", "replay", "--sample", "10%")
                print(line_of(f"{shape} audit", audit), flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
