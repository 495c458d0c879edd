"""Train a SentencePiece tokenizer on a sample of the training documents, deterministically.

BPE, identity normalizer, byte fallback, no white space added or removed: decoding gives the text back. Each source
contributes to the sample in proportion to its bytes (never by a mixture's shares, so mixtures stay comparable).
Documents are taken in the order of the lower half of their text hash. Held-out sets take the smallest hashes by the
upper half, so the two orders are independent. Texts are split below 4,192 bytes, because SentencePiece silently skips
longer ones. The number of threads is constant, because it is written into the model. Training 32,000 pieces on 140 MB
takes 14 s on one core and 1.3 GB of memory.

A trained model is stored under a key of its own bytes, like a given one; a receipt under `train_tokenizer/` remembers
what it was trained from.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sentencepiece import SentencePieceTrainer

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.arithmetic.rounding import largest_remainder
from mixproof.mixtures.blocks.tokenizer import TokenizerTraining
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import Call, make_missing
from mixproof.pipeline.columns import array_of, flags, numbers, read_whole, table_of
from mixproof.pipeline.read.batches import SHARDS_PER_TASK, share_tasks
from mixproof.pipeline.read.shards import SHARD_BYTES
from mixproof.tokenize.shard_tokens import Texts, read_kept

from .tokenizer import MODEL, store_model, store_tokenizer
from .tokenizer import STAGE as TOKENIZER

STAGE = "train_tokenizer"
STAGE_VERSION = 1
SAMPLE = "sample"
SAMPLE_VERSION = 1
CANDIDATES = "candidates.parquet"
CUT_BYTES = 4_000
"""Maximum bytes of a training text; SentencePiece's own limit is 4,192."""
MAX_VOCAB_SIZE = 2**31 - 1
"""SentencePiece stores the size as int32."""
RANKS = 2**64
SETTINGS: dict[str, Any] = {
    "model_type": "bpe",
    "normalization_rule_name": "identity",
    "byte_fallback": True,
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": False,
    "num_threads": 1,
    "max_sentence_length": 4_192,
}


def train_tokenizer(
    training: TokenizerTraining,
    sources: Mapping[str, Sequence[Texts]],
    eod: str | None,
    store: Store,
    cluster: Cluster,
    *,
    bos: bool | str = False,
) -> TokenizerRecord:
    """Train a tokenizer unless the store has it.

    Args:
        training: size of the vocabulary and the sample.
        sources: per source, the shards of its training documents, in order.
        eod: piece to use as end of document; None: the model's own.
        store: where sample and model go.
        cluster: runs the tasks.
        bos: piece that begins every document; True: the model's own; False: none.

    Raises:
        RequestError: when the sample is too small for the vocabulary, or the model has no such piece.
    """
    config = {
        "vocab_size": training.vocab_size,
        "bytes": training.bytes,
        "settings": SETTINGS,
        "sample": SAMPLE_VERSION,
    }
    inputs = {name: [[shard.sha256, _keep_sha256(shard)] for shard in shards] for name, shards in sources.items()}
    key = stage_key(STAGE, STAGE_VERSION, config, inputs)

    def train() -> Receipt:
        call = (store, key, _sample(training.bytes, sources, store, cluster), training)
        (receipt,) = cluster.run(train_on_samples, [call], label="train tokenizer")
        return receipt

    def has_model(receipt: Receipt) -> bool:
        return store.receipt(TOKENIZER, receipt.facts["tokenizer"]) is not None

    receipt = make_missing(store, STAGE, key, train, cluster, is_complete=has_model)
    model = store.path(f"{TOKENIZER}/{receipt.facts['tokenizer']}/{MODEL}")
    return store_tokenizer(store, model, eod, bos)


def check_vocab_size(vocab_size: int) -> None:
    """Refuse a vocabulary size that SentencePiece cannot read, before any work is done.

    Raises:
        RequestError: when it is not between 1 and `MAX_VOCAB_SIZE`.
    """
    if not 1 <= vocab_size <= MAX_VOCAB_SIZE:
        raise RequestError(
            f"tokenizer.train.vocab_size: {vocab_size} is not between 1 and {MAX_VOCAB_SIZE}, the range of "
            "SentencePiece; common sizes are 32000 to 256000"
        )


def _keep_sha256(texts: Texts) -> str | None:
    return texts.keep.sha256 if texts.keep else None


def _sample(
    sample_bytes: int, sources: Mapping[str, Sequence[Texts]], store: Store, cluster: Cluster
) -> list[tuple[int, list[str]]]:
    """Collect candidates for the sample; return per source its bytes of the sample and the candidates' files."""
    shards = [(name, shard) for name, shards in sources.items() for shard in shards]
    calls: list[Call] = [(store, batch) for batch in _in_tasks([shard for _, shard in shards], cluster)]
    sizes = chain.from_iterable(cluster.run(count_bytes, calls, label="measure sources"))
    source_bytes = dict.fromkeys(sources, 0)
    for (name, _), size in zip(shards, sizes, strict=True):
        source_bytes[name] += size
    total_bytes = sum(source_bytes.values())
    if not total_bytes:
        raise RequestError("tokenizer.train: there are no documents to train on; check the sources' files and steps")
    sampled_bytes = min(sample_bytes, total_bytes)
    shares = {name: Fraction(size, total_bytes) for name, size in source_bytes.items()}
    quotas = largest_remainder(sampled_bytes, shares)
    below = min(RANKS, 2 * sampled_bytes * RANKS // total_bytes)
    files: dict[str, list[str]] = {}
    open_sources = list(sources)
    while open_sources:
        wanting = [shard for name, shard in shards if name in open_sources]
        calls = [(store, batch, below) for batch in _in_tasks(wanting, cluster)]
        found = chain.from_iterable(cluster.run(collect_candidates, calls, label="sample"))
        for name in list(open_sources):
            collected = [next(found) for _ in sources[name]]
            files[name] = [path for path, _ in collected]
            if below == RANKS or sum(size for _, size in collected) >= quotas[name]:
                open_sources.remove(name)
        below = min(RANKS, 2 * below)
    return [(quotas[name], files[name]) for name in sorted(sources)]


def _in_tasks(shards: Sequence[Texts], cluster: Cluster) -> list[tuple[Texts, ...]]:
    """Divide shards among tasks, in order."""
    return share_tasks(
        shards,
        lambda shard: shard.text_bytes,
        most_bytes=SHARD_BYTES,
        most_items=SHARDS_PER_TASK,
        tasks=cluster.parallel_tasks(),
    )


def count_bytes(store: Store, shards: Sequence[Texts]) -> list[int]:
    """UTF-8 bytes of the kept texts of each shard (Ray task)."""
    return [
        sum(int(array_of(rows["text_bytes"]).sum()) for rows in read_kept(store, texts, ["text_bytes"]))
        for texts in shards
    ]


def collect_candidates(store: Store, shards: Sequence[Texts], below: int) -> list[tuple[str, int]]:
    """Write the texts of each shard whose rank is below a limit (Ray task).

    Returns:
        For each shard the file, relative to the store, and the UTF-8 bytes of its texts.
    """
    return [_collect(store, texts, below) for texts in shards]


def _collect(store: Store, texts: Texts, below: int) -> tuple[str, int]:
    key = stage_key(SAMPLE, SAMPLE_VERSION, {"below": below}, [texts.sha256, _keep_sha256(texts)])
    receipt = store.receipt(SAMPLE, key)
    if receipt is None:
        tables = [_candidates(rows, below) for rows in read_kept(store, texts)]
        with store.attempt(SAMPLE, key) as attempt:
            schema = pa.schema([("rank", pa.uint64()), ("text", pa.large_string())])
            table = pa.concat_tables(tables) if tables else table_of([], schema)
            pq.write_table(table, attempt.path(CANDIDATES), compression="zstd")
            text_bytes = sum(len(text.encode()) for text in table["text"].to_pylist())
            receipt = attempt.commit(facts={"bytes": text_bytes})
    return f"{SAMPLE}/{key}/{CANDIDATES}", receipt.facts["bytes"]


def _candidates(rows: pa.Table, below: int) -> pa.Table:
    ranks = ranks_of(rows["text_xxh128"].to_pylist())
    chosen = flags(ranks <= np.uint64(below - 1))
    return pa.table({"rank": numbers(ranks), "text": rows["text"].cast(pa.large_string())}).filter(chosen)


def ranks_of(hashes: Sequence[bytes]) -> NDArray[np.uint64]:
    """The lower half of each text hash, [documents]."""
    return np.frombuffer(b"".join(hashes), ">u8").reshape(-1, 2)[:, 1].astype(np.uint64)


def train_on_samples(
    store: Store, key: str, samples: Sequence[tuple[int, Sequence[str]]], training: TokenizerTraining
) -> Receipt:
    """Train the model on the candidates (Ray task); the receipt's facts name the model's key."""
    chosen: list[tuple[int, str]] = []
    for quota, paths in samples:
        candidates: list[tuple[int, str]] = []
        for path in paths:
            table = read_whole(store.path(path))
            candidates.extend(zip(table["rank"].to_pylist(), table["text"].to_pylist(), strict=True))
        chosen.extend(take_bytes(sorted(candidates), quota))
    model = train_model((text for _, text in sorted(chosen)), training.vocab_size)
    model_key = store_model(store, model)
    with store.attempt(STAGE, key) as attempt:
        return attempt.commit(facts={"tokenizer": model_key})


def take_bytes(ranked: Iterable[tuple[int, str]], quota: int) -> Iterator[tuple[int, str]]:
    """The first texts, until their UTF-8 bytes reach `quota`."""
    taken = 0
    for rank, text in ranked:
        if taken >= quota:
            return
        taken += len(text.encode())
        yield rank, text


def cut_text(text: str) -> Iterator[str]:
    """Split a text into pieces of at most `CUT_BYTES`, after white space if the second half of a piece has any."""
    data = text.encode()
    start = 0
    while len(data) - start > CUT_BYTES:
        window = data[start : start + CUT_BYTES]
        space = max(window.rfind(b" "), window.rfind(b"\n"))
        stop = start + (space + 1 if space >= CUT_BYTES // 2 else CUT_BYTES)
        while data[stop] & 0xC0 == 0x80:  # inside a UTF-8 character
            stop -= 1
        yield data[start:stop].decode()
        start = stop
    if start < len(data):
        yield data[start:].decode()


def train_model(texts: Iterable[str], vocab_size: int) -> bytes:
    """Train a model on texts in the given order; return the bytes of the model file.

    Raises:
        RequestError: when the texts are too few for `vocab_size` pieces.
    """
    check_vocab_size(vocab_size)
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(piece for text in texts for piece in cut_text(text)),
            model_writer=model,
            vocab_size=vocab_size,
            minloglevel=2,
            **SETTINGS,
        )
    except (RuntimeError, ValueError) as error:
        reason = re.sub(r"^.*\[.*?\]\s*", "", str(error)) or "it holds no text"
        raise RequestError(
            f"tokenizer.train: the sample cannot give {vocab_size} pieces: {reason} "
            "(change tokenizer.train.vocab_size, or raise tokenizer.train.bytes)"
        ) from None
    return model.getvalue()
