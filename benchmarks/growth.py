"""How the cost of a build grows with the number of files: the same text in few and in many of them.

    python benchmarks/growth.py FOLDER [--files 200 2000] [--megabytes 60] [--work DIRECTORY]

Texts of FOLDER (JSON lines, Parquet, text) are cut into documents of about 1 kB, `--megabytes` of them in a fixed
random order, and written to as many JSON lines files as `--files` says. Each corpus is built by `mixproof build`, with
exact and fuzzy deduplication, held-out sets and decontamination, and a tokenizer that is trained beforehand: once into
an empty store, a second time, and a third time after a file is appended. Reported are CPU seconds of all processes
(those that Ray starts are counted too), wall time, and files, folders and bytes of the store.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import sentencepiece

from dedup import texts_of

DOCUMENT_CHARS = 1000
APPENDED_DOCUMENTS = 3
BLOCK_BYTES = 512
"""Of `st_blocks` (POSIX)."""
PR_SET_CHILD_SUBREAPER = 36
SPEC = """
schema: 1
name: growth
sources: {{all: {{files: "{folder}/**/*.jsonl"}}}}
dedup: {{exact: true, fuzzy: {{}}}}
tokenizer: {{sentencepiece: {tokenizer}}}
mixtures: {{only: {{all: 100%}}}}
train: {{sequence_length: 512, proxies: {{nano: {{tokens: 1M, global_batch_size: 8, lr: 1.0e-3}}}}}}
"""


@dataclass(frozen=True)
class Cost:
    """What one command took, and what the store held afterwards."""

    cpu_seconds: float
    wall_seconds: float
    stages_run: int
    store_files: int
    store_folders: int
    store_bytes: int


class CpuTime:
    """CPU seconds of all processes below this one while the block runs.

    Ray does not wait for its workers, so the kernel adds their time to nobody's. They are looked up ten times a second
    instead, and the last 0.1 s of each are missed. Processes whose parent has ended become children of this one.
    """

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._seconds: dict[tuple[int, float], float] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """User and system time."""
        return sum(self._seconds.values())

    def _watch(self) -> None:
        while not self._is_over.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    used = process.cpu_times()
                    self._seconds[process.pid, process.create_time()] = used.user + used.system


def documents_of(folder: Path, megabytes: float) -> list[str]:
    """Documents of at most DOCUMENT_CHARS characters, in a fixed random order."""
    pieces = list(
        dict.fromkeys(
            text[start : start + DOCUMENT_CHARS]
            for text in texts_of(folder)
            for start in range(0, len(text), DOCUMENT_CHARS)
        )
    )
    random.Random(1).shuffle(pieces)  # noqa: S311  a fixed order
    return list(_until(pieces, megabytes * 1e6))


def _until(texts: Sequence[str], most_bytes: float) -> Iterator[str]:
    size = 0
    for text in texts:
        size += len(text.encode())
        if size > most_bytes:
            return
        yield text


def write_files(texts: Sequence[str], number: int, folder: Path) -> None:
    """Deal texts to `number` files, each with texts that follow each other, 1,000 files a folder."""
    for index in range(number):
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        first, last = (len(texts) * each // number for each in (index, index + 1))
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[first:last]))


def write_tokenizer(texts: Sequence[str], prefix: Path) -> Path:
    """Train a small SentencePiece model."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts[:2000]),
        model_prefix=str(prefix),
        vocab_size=4000,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return prefix.with_suffix(".model")


def build(spec: Path, store: Path) -> Cost:
    """Run `mixproof build` and wait for every process that it leaves behind.

    Raises:
        SystemExit: when it fails.
    """
    start = time.monotonic()
    command = [sys.executable, "-m", "mixproof.cli", "build", str(spec), "--store", str(store), "--json"]
    with CpuTime() as cpu:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.monotonic() - start
    if done.returncode:
        sys.exit(done.stderr)
    files = folders = size = 0
    for path in store.rglob("*"):
        files, folders = files + path.is_file(), folders + path.is_dir()
        size += path.stat().st_blocks * BLOCK_BYTES
    return Cost(cpu.seconds, wall, json.loads(done.stdout)["stages_run"], files, folders, size)


def measure(texts: Sequence[str], number: int, work: Path) -> dict[str, Cost]:
    """Build, build again, and build after a file was appended."""
    corpus = work / f"corpus-{number}"
    write_files(texts[:-APPENDED_DOCUMENTS], number, corpus)
    spec = work / f"growth-{number}.yaml"
    spec.write_text(SPEC.format(folder=corpus, tokenizer=work / "tok.model"))
    store = work / f"store-{number}"
    costs = {"build": build(spec, store), "again": build(spec, store)}
    appended = corpus / f"{number // 2000:03d}" / f"{number // 2:06d}-appended.jsonl"
    appended.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[-APPENDED_DOCUMENTS:]))
    return costs | {"appended": build(spec, store)}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", nargs="+", type=int, default=[200, 2000])
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        texts = documents_of(given.folder, given.megabytes)
        write_tokenizer(texts, Path(work) / "tok")
        print(f"{len(texts):,} documents of {sum(len(text.encode()) for text in texts) / 1e6:.1f} MB", flush=True)
        print(
            f"{'files':>8} {'':<9} {'CPU s':>7} {'wall s':>7} {'stages':>7} {'in store':>12} {'folders':>8} {'MB':>7}"
        )
        for number in given.files:
            for name, cost in measure(texts, number, Path(work)).items():
                print(
                    f"{number:>8,} {name:<9} {cost.cpu_seconds:>7.1f} {cost.wall_seconds:>7.1f} {cost.stages_run:>7,} "
                    f"{cost.store_files:>12,} {cost.store_folders:>8,} {cost.store_bytes / 1e6:>7.1f}  "
                    f"load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
