"""What planning takes for a corpus of 10,000 sources and 1,000,000 shards, of which a store has nearly all.

    python benchmarks/planning.py [FOLDER] [--sources 10000] [--shards 100]

Each source is one file of JSON lines of `--shards` x 128 MB, with nothing in it: a sparse file takes no room. The
store is made as builds would leave it: the checksums of the files, a folder with three files, empty ones, for every
shard but each thousandth, and the receipts of these, sealed. Then `mixproof plan` counts what is read already. Prints
the seconds, CPU-seconds and peak memory of the command. FOLDER is kept where it is given, and planned again by a second
call; a million shards take 4 million inodes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.account import StageRow
from mixproof.ledger.fingerprint import canonical_json, sha256_of, stage_key
from mixproof.ledger.store import Store
from mixproof.ledger.store.receipt import seal
from mixproof.ledger.store.sealed import RECEIPTS, ROW_GROUP, SCHEMA, SEALED, VERSION
from mixproof.mixtures.load import load_spec
from mixproof.pipeline.inputs.files import InputFile, find_files
from mixproof.pipeline.read import identify, read_task
from mixproof.pipeline.read.shards import DOCUMENTS, HASHES, REJECTS, SHARD_BYTES, plan_shards

MISSING = 1000
"""One shard in this many is not read yet."""
FILES = (DOCUMENTS, HASHES, REJECTS)
SPEC_END = """\
tokenizer: {train: {vocab_size: 32000, bytes: 200MB}}
mixtures:
  natural: {rule: proportional}
train:
  sequence_length: 2048
  proxies:
    350m: {tokens: 7B, global_batch_size: 512, lr: 1.0e-3, min_lr: 1.0e-4}
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=100, help="of each source")
    given = parser.parse_args(arguments)
    if given.folder is not None:
        measure(given.folder, given.sources, given.shards)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), given.sources, given.shards)


def measure(folder: Path, sources: int, shards: int) -> None:
    spec, store = folder / "many.yaml", folder / "store"
    if not spec.exists():
        write_corpus(folder, spec, sources, shards)
        written = write_store(spec, Store(store))
        print(f"wrote a store of {written:,} shards", flush=True)
    command = [sys.executable, "-m", "mixproof.cli", "plan", str(spec), "--store", str(store), "--json"]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        planned = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    counted = planned["shards"]
    print(
        f"plan: {len(planned['sources']):,} sources, {counted['shards']:,} shards, {counted['shards_read']:,} read, "
        f"{counted['bytes_left']:,} bytes left: {time.monotonic() - started:.1f} s, "
        f"{used.ru_utime + used.ru_stime:.1f} CPU s, {used.ru_maxrss / 1e6:.2f} GB at most"
    )
    expected = sources * shards
    assert (counted["shards"], counted["shards_read"]) == (expected, expected - -(-expected // MISSING))


def write_corpus(folder: Path, spec: Path, sources: int, shards: int) -> None:
    lines = ["schema: 1", "name: many", "sources:"]
    for number in range(sources):
        path = folder / "corpus" / f"s{number:05d}" / "part.jsonl"
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(shards * SHARD_BYTES)
        lines.append(f'  s{number:05d}: {{files: "corpus/s{number:05d}/*.jsonl"}}')
    spec.write_text("\n".join(lines) + "\n" + SPEC_END)


def write_store(spec: Path, store: Store) -> int:
    """Write what the reading of nearly all shards leaves, not synced to the disk; returns how many."""
    loaded = load_spec(spec)
    files = find_files(loaded.spec, loaded.base)
    sha256 = {file.url: sha256_of(file.name + file.source) for inputs in files.values() for file in inputs}
    _remember([file for inputs in files.values() for file in inputs], sha256, store)
    keys = [
        key
        for name, inputs in files.items()
        for key in read_task.read_keys(
            plan_shards({name: inputs}), loaded.spec.sources[name], sha256, loaded.spec.limits
        )
    ]
    done = sorted(key for place, key in enumerate(keys) if place % MISSING)
    (store.root / read_task.STAGE).mkdir(parents=True)
    for key in done:
        folder = f"{store.root}/{read_task.STAGE}/{key}"
        os.mkdir(folder)  # noqa: PTH102  a Path a file would be most of the time that a million of them take
        for name in FILES:
            os.close(os.open(f"{folder}/{name}", os.O_CREAT))
    _seal(done, store)
    return len(done)


def _remember(files: Sequence[InputFile], sha256: dict[str, str], store: Store) -> None:
    for first in range(0, len(files), identify.BATCH_FILES):
        batch = files[first : first + identify.BATCH_FILES]
        rows = [[file.url, file.bytes, file.mtime_ns, file.ctime_ns, file.tag, sha256[file.url]] for file in batch]
        with store.attempt(identify.STAGE, stage_key(identify.STAGE, identify.VERSION, {}, rows)) as attempt:
            attempt.commit(facts={"files": rows})


def _seal(keys: Sequence[str], store: Store) -> None:
    """Write the receipts as `seal_receipts` would have."""
    account = StageRow(
        stage="read", documents_in=25_000, documents_out=25_000, bytes_in=SHARD_BYTES, bytes_out=SHARD_BYTES
    ).model_dump(mode="json")
    with store.attempt(SEALED, stage_key(SEALED, VERSION, {"stage": read_task.STAGE}, [])) as attempt:
        with pq.ParquetWriter(attempt.path(RECEIPTS), SCHEMA, compression="zstd") as writer:
            for first in range(0, len(keys), ROW_GROUP):
                group = keys[first : first + ROW_GROUP]
                writer.write_table(pa.table([group, [_receipt(key, account) for key in group]], SCHEMA), ROW_GROUP)
        attempt.commit(facts={"stage": read_task.STAGE, "receipts": len(keys)})


def _receipt(key: str, account: dict[str, object]) -> bytes:
    files = {name: {"sha256": hashlib.sha256((key + name).encode()).hexdigest(), "bytes": 0} for name in FILES}
    fields = {"stage": read_task.STAGE, "key": key, "files": files, "account": [account], "facts": {"records": 25_000}}
    return seal(canonical_json(fields))


if __name__ == "__main__":
    main(sys.argv[1:])
