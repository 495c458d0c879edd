"""Measure how fast this machine turns a spec's files into tokens, in a few seconds and in one process.

The first bytes of one file of each source go through the code of a build: checksum, reader, steps, signatures, and the
tokenizer (a small one is trained where the build would train one). The other stages, which need all documents, are
taken to need half as much time again; that share is an assumption, not a measurement.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.load import LoadedSpec
from mixproof.pipeline.dedup.minhash import Sketch
from mixproof.pipeline.dedup.signatures import sign_shards
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.read.read import read_shard
from mixproof.pipeline.read.read_task import STAGE, ReadTask, read_task
from mixproof.pipeline.read.shards import DOCUMENTS, ShardPlan
from mixproof.pipeline.read.texts import iter_texts
from mixproof.pipeline.readers.remote import is_remote
from mixproof.pipeline.readers.unchanged import hash_file

from .encode import encode_shard
from .shard_tokens import Texts
from .tokenizer.tokenizer import NAMES, given_tokenizer, store_model, store_tokenizer
from .tokenizer.tokenizer import STAGE as TOKENIZER
from .tokenizer.train_tokenizer import train_model

PLAIN_BYTES = 1_000_000
"""Of a plain file that are measured; compressed files and row groups are read as a whole."""
LARGEST_FILE = 20_000_000
"""Bytes of a compressed file that still takes seconds."""
MOST_SECONDS = 10.0
"""After this time no further source is measured; the others are taken to be as fast on average."""
OTHER_STAGES = 1.5
TRIED_PIECES = 2_000
"""Of the tokenizer that stands for one that the build would train: the speed does not depend on the size."""


@dataclass(frozen=True)
class _Sample:
    """A read sample of a source."""

    folder: str
    task: ReadTask
    seconds: float


def measure_documents(loaded: LoadedSpec, files: Mapping[str, Sequence[InputFile]]) -> float | None:
    """Measure the rate of a build of a spec.

    Args:
        loaded: the spec, with split sources whole.
        files: by source.

    Returns:
        File bytes per core-second over all sources; None if no source has a local file that can be measured.
    """
    started = time.monotonic()
    seconds_per_byte: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mixproof-measure-") as folder:
        store = Store(Path(folder))
        for name, inputs in files.items():
            plan = _plan(name, inputs)
            if plan is None or (seconds_per_byte and time.monotonic() - started > MOST_SECONDS):
                continue
            seconds_per_byte[name] = OTHER_STAGES * _seconds(loaded, store, plan) / plan.input_bytes
    if not seconds_per_byte:
        return None
    usual = sum(seconds_per_byte.values()) / len(seconds_per_byte)
    sizes = {name: sum(file.bytes for file in inputs) for name, inputs in files.items()}
    needed = sum(size * seconds_per_byte.get(name, usual) for name, size in sizes.items())
    return sum(sizes.values()) / needed if needed else None


def _plan(name: str, inputs: Sequence[InputFile]) -> ShardPlan | None:
    """The start of the smallest file that has a few documents; None if there is no local one."""
    local = [file for file in inputs if not is_remote(file.url) and file.bytes > 0 and file.format != "megatron"]
    chosen = sorted(
        (file for file in local if file.bytes <= LARGEST_FILE or _is_cut(file)), key=lambda file: file.bytes
    )
    if not chosen:
        return None
    file = chosen[len(chosen) // 2]
    return ShardPlan(name, (file,), 0, min(file.bytes, PLAIN_BYTES) if _is_cut(file) else file.bytes)


def _is_cut(file: InputFile) -> bool:
    return file.format == "jsonl" and file.compression is None


def _seconds(loaded: LoadedSpec, store: Store, plan: ShardPlan) -> float:
    """Seconds that a sample takes from its file to its tokens."""
    source = loaded.spec.sources[plan.source].model_copy(update={"split_by": None})
    read = _read(loaded, store, plan, source)
    tokenizer = _tokenizer(loaded, store, read)
    started = time.monotonic()
    dedup = loaded.spec.dedup
    if dedup is not None and dedup.fuzzy is not None:
        sketch = Sketch(dedup.fuzzy.ngram, dedup.fuzzy.bands, dedup.fuzzy.rows)
        sign_shards(store, sketch, set(), [(f"signatures-{plan.source}".replace("/", "-"), read.folder)])
    if tokenizer is not None:
        receipt = store.receipt(STAGE, read.task.key)
        assert receipt is not None, "it was read just now"
        sha256 = receipt.files[DOCUMENTS].content_sha256
        texts = Texts(f"{read.folder}/{DOCUMENTS}", sha256, None, plan.files[0].name, 0, plan.source)
        encode_shard(store, read.task.key, texts, tokenizer, None)
    return read.seconds + time.monotonic() - started


def _read(loaded: LoadedSpec, store: Store, plan: ShardPlan, source: Source) -> _Sample:
    started = time.monotonic()
    url = plan.files[0].url
    task = read_task(plan, source, {url: hash_file(url)[1]}, loaded.spec.limits)
    if store.receipt(STAGE, task.key) is None:
        read_shard(store, task)
    return _Sample(f"{STAGE}/{task.key}", task, time.monotonic() - started)


def _tokenizer(loaded: LoadedSpec, store: Store, read: _Sample) -> TokenizerRecord | None:
    """The given tokenizer, or a small one of the sample's texts; None if these are too few."""
    given, eod = given_tokenizer(loaded), loaded.spec.tokenizer.eod
    if given is not None:
        return store_tokenizer(store, given, eod)
    parts = (data[bounds[0] : bounds[-1]].decode() for data, bounds in iter_texts(store, read.folder))
    try:
        key = store_model(store, train_model((text for text, _ in zip(parts, range(2), strict=False)), TRIED_PIECES))
    except RequestError:
        return None
    return store_tokenizer(store, store.path(f"{TOKENIZER}/{key}/{NAMES['sentencepiece']}"), eod)
