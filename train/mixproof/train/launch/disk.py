"""Estimate the disk space that a spec's build and runs take in the store, by what it is for.

A build stores its texts once (packed by zstd), the token ids twice (by shard, and as the parts of the datasets), and
what its stages leave for the next build. Pieces of large compressed files have about as many bytes as the files. The
ratios are those of builds of natural text: measured on 24 MB of news and laws, the sum was within a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixproof.mixtures.blocks.train import Proxy
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.heldout.heldout_target import DEFAULT_BYTES_DIVISOR, DEFAULT_TOKENS
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.read.shards import SHARD_BYTES
from mixproof.pipeline.read.unpack import is_unpacked
from mixproof.pipeline.semantic.assignment import PROBES
from mixproof.tokenize.dataset.indexed import token_dtype
from mixproof.tokenize.estimate import BYTES_PER_TOKEN
from mixproof.train.proxies import architecture_of, memory_of

PACKED_SHARE = 0.35
"""Bytes of a text in `documents.parquet` per UTF-8 byte."""
TEXT_BYTES_PER_DOCUMENT = 4_000
PROVENANCE_BYTES_PER_DOCUMENT = 70
"""Of a document's provenance, in shards and in parts each."""
OVERLAP_BYTES_PER_TOKEN = 38
"""Bytes of the index of held-out texts per held-out token."""
SAMPLE_SHARE = 0.8
"""Bytes of the tokenizer's training sample in the store per byte of the sample."""
HASH_BYTES, ROW_BYTES, MINIMUM_BYTES = 8, 4, 2
"""Of a band's hash, of its row, and of a minimum in a document's signature."""
DIMENSIONS, COMPONENT_BYTES, RECORD_BYTES = 256, 2, 8
"""Of the default table; bytes of a vector's component, and of a document in a cell."""


def dataset_bytes(tokens: int, vocab_size: int) -> int:
    """Bytes of the ids of `tokens` tokens."""
    return tokens * token_dtype(vocab_size).itemsize


def build_bytes(
    spec: Spec, tokens_of: Mapping[str, int], vocab_size: int, files: Mapping[str, Sequence[InputFile]]
) -> dict[str, int]:
    """Estimate the bytes that a build writes, by what they are for.

    Args:
        spec: a checked spec.
        tokens_of: tokens of each source.
        vocab_size: number of token ids.
        files: those of each source.
    """
    large = {file.url: file.bytes for inputs in files.values() for file in inputs if is_unpacked(file, SHARD_BYTES)}
    texts_of = {
        name: tokens * BYTES_PER_TOKEN for name, tokens in tokens_of.items() if spec.sources[name].megatron is None
    }
    text_bytes, tokens = sum(texts_of.values()), sum(tokens_of.values())
    documents = text_bytes // TEXT_BYTES_PER_DOCUMENT
    ids = dataset_bytes(tokens, vocab_size) + PROVENANCE_BYTES_PER_DOCUMENT * documents
    return {
        "datasets": dataset_bytes(tokens, vocab_size),
        "texts": int(PACKED_SHARE * text_bytes * _copies_of_texts(spec)),
        "encoded shards": ids,
        **({"pieces of large compressed files": sum(large.values())} if large else {}),
        "provenance": PROVENANCE_BYTES_PER_DOCUMENT * documents,
        "signatures": documents * (_signature_bytes(spec) + _vector_bytes(spec)),
        "overlap index": OVERLAP_BYTES_PER_TOKEN * _heldout_tokens(spec, texts_of),
        "tokenizer sample": int(SAMPLE_SHARE * _sample_bytes(spec, text_bytes)),
    }


def checkpoint_bytes(name: str, proxy: Proxy, vocab_size: int) -> int:
    """Bytes of one checkpoint of a proxy."""
    shape = architecture_of(name, proxy)
    return memory_of(shape, vocab_size, 1, micro_batch_size=1, activation_width=2).checkpoint


def _copies_of_texts(spec: Spec) -> int:
    """Deduplication of paragraphs and of substrings writes a second copy of the texts that it shortens, at most all."""
    return 1 + (len(spec.dedup.cuts) if spec.dedup is not None else 0)


def _signature_bytes(spec: Spec) -> int:
    """Bytes per document of MinHash signatures and sorted bands; 0 without fuzzy deduplication."""
    fuzzy = None if spec.dedup is None else spec.dedup.fuzzy
    if fuzzy is None:
        return 0
    return fuzzy.bands * (fuzzy.rows * MINIMUM_BYTES + HASH_BYTES + ROW_BYTES)


def _vector_bytes(spec: Spec) -> int:
    """Bytes per document of embeddings and records of cells, with the default table; 0 without semantic duplicates."""
    if spec.dedup is None or spec.dedup.semantic is None:
        return 0
    return DIMENSIONS * COMPONENT_BYTES + PROBES * RECORD_BYTES


def _heldout_tokens(spec: Spec, texts_of: Mapping[str, int]) -> int:
    if spec.decontaminate is False:
        return 0
    requested = None if spec.heldout.create is None else spec.heldout.create.tokens
    share = {name: size // BYTES_PER_TOKEN // DEFAULT_BYTES_DIVISOR for name, size in texts_of.items()}
    return sum(requested or min(DEFAULT_TOKENS, of_source) for of_source in share.values())


def _sample_bytes(spec: Spec, text_bytes: int) -> int:
    training = spec.tokenizer.train
    return 0 if training is None else min(training.bytes, text_bytes)
