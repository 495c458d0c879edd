"""Small real texts, a tokenizer trained on them, and shards as the pipeline would leave them."""

from __future__ import annotations

import io
import pydoc_data.topics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from sentencepiece import SentencePieceTrainer

from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.bitmap import Bitmap, save_bitmap
from mixproof.tokenize.shard_tokens import Texts
from mixproof.tokenize.tokenizer.tokenizer import store_tokenizer
from mixproof.tokenize.tokenizer.train_tokenizer import train_model

TOPICS: list[str] = list(dict.fromkeys(str(text) for text in pydoc_data.topics.topics.values()))
"""The Python manual, each text once: every installation has it."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of 600 pieces."""
    path = tmp_path_factory.mktemp("model") / "tok.model"
    path.write_bytes(train_model(TOPICS, 600))
    return path


@pytest.fixture(scope="session")
def topics() -> list[str]:
    """The Python manual in about 80 texts, the same on every machine with this Python."""
    return TOPICS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def tokenizer(store: Store, model: Path) -> TokenizerRecord:
    return store_tokenizer(store, model, None)


@pytest.fixture
def whitespace_eater(store: Store, tmp_path: Path) -> TokenizerRecord:
    """A model whose normalizer takes away white space at the ends, as SentencePiece does by default."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=(line for text in TOPICS for line in text.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=500,
        minloglevel=2,
    )
    path = tmp_path / "eater.model"
    path.write_bytes(model.getvalue())
    return store_tokenizer(store, path, None)


@pytest.fixture
def write_shard(store: Store) -> Callable[..., Texts]:
    """Write `documents.parquet` as the reading stage does, with an optional bitmap."""

    def write(
        name: str,
        texts: Sequence[str],
        *,
        keep: Sequence[bool] | None = None,
        file: str = "a.jsonl",
        first_record: int = 0,
        ids: Sequence[str | None] | None = None,
    ) -> Texts:
        folder = store.path(f"read/{name}")
        folder.mkdir(parents=True)
        data = [text.encode() for text in texts]
        table = pa.table(
            {
                "record": pa.array(range(len(texts)), pa.int64()),
                "id": pa.array(ids or [None] * len(texts), pa.string()),
                "text": pa.array(texts, pa.large_string()),
                "text_xxh128": pa.array([xxhash.xxh3_128_digest(text) for text in data], pa.binary(16)),
                "text_bytes": pa.array([len(text) for text in data], pa.int64()),
            }
        )
        pq.write_table(table, folder / "documents.parquet", row_group_size=1024, compression="zstd")
        bitmap = None
        if keep is not None:
            save_bitmap(folder / "keep.npy", np.array(keep))
            bitmap = Bitmap(f"read/{name}/keep.npy", sha256_of_file(folder / "keep.npy"), sum(keep))
        path = folder / "documents.parquet"
        return Texts(store.relative(path), sha256_of_file(path), bitmap, file, first_record, "manual")

    return write
