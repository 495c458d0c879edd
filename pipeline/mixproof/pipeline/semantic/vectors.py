"""Embeddings of shards: a stage of its own, keyed by a shard's documents, the token table and what is embedded.

An embedding is the direction of the sum of a text's token vectors, without the kinds of bytes that clusters use as
well: these make all texts of a format alike. It is a vector of whole numbers of length LENGTH, chosen such that every
partial sum of a product of two is at most 2^24. float32 holds these sums exactly, so a product has the same value in
any order, with any block shape, BLAS library and number of threads.

A document is not compared, and its vector is zero, if it is short or its tokens are: a tokenizer that does not know a
language cuts its texts into single letters, and sums of these are nearly the same for all texts.
A new threshold, scope or priority, or a new dump beside old ones, embeds no old text again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Receipt, Store
from mixproof.mixtures.blocks.dedup import SemanticDedup
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.clusters.embed import VERSION as EMBED_VERSION
from mixproof.pipeline.clusters.embed import directions, token_sums
from mixproof.pipeline.clusters.find_embedding import find_embedding
from mixproof.pipeline.clusters.token_table import TableFiles
from mixproof.pipeline.read.batches import share_shards, text_bytes_of
from mixproof.pipeline.read.shards import DOCUMENTS, Shard
from mixproof.pipeline.read.texts import iter_texts

STAGE = "embeddings"
VERSION = 1
VECTORS = "vectors.npy"
"""int16 [documents, dimensions], in the order of `documents.parquet`; zero for documents that are not compared."""
COMPARED = "compared.npy"
"""bool [documents], whether each is compared."""
LENGTH = 4000
"""Length of a vector. Rounding adds at most half the root of the dimensions, so a product is at most 2^24 up to 9,000
dimensions."""
MOST_DIMENSIONS = 9000
UTF8_BYTES = 4
"""Most bytes of a character."""


@dataclass(frozen=True)
class Embedding:
    """How texts are embedded, and which are compared."""

    table: TableFiles
    chars: int
    min_chars: int
    chars_per_token: tuple[int, int]
    """Numerator and denominator."""

    @property
    def config(self) -> dict[str, object]:
        """What a key holds."""
        return {
            "table": self.table.sha256,
            "embed": EMBED_VERSION,
            "chars": self.chars,
            "min_chars": self.min_chars,
            "chars_per_token": list(self.chars_per_token),
        }

    def vectors(self, texts: Sequence[str]) -> NDArray[np.int16]:
        """Embed texts: int16 [texts, dimensions].

        Args:
            texts: whole, or at least their first `chars` and `min_chars` characters.
        """
        starts = [text[: self.chars] for text in texts]
        sums, tokens = token_sums(starts, self.table)
        sizes = np.fromiter(map(len, starts), np.int64, len(starts))
        above, below = self.chars_per_token
        is_long = np.fromiter((len(text) >= self.min_chars for text in texts), np.bool_, len(texts))
        sums[~(is_long & (sizes * below >= tokens * above))] = 0
        return directions(sums, LENGTH).astype(np.int16)


def semantic_table(spec: Spec, base: Path) -> TableFiles | None:
    """The token table of `dedup.semantic`; None if the spec has no such block.

    Args:
        spec: the spec.
        base: the folder to which its paths are relative.

    Raises:
        RequestError: naming the key, when a file is missing or the package with the default table is not installed.
    """
    rule = None if spec.dedup is None else spec.dedup.semantic
    if rule is None:
        return None
    try:
        table = find_embedding(None if rule.embedding is None else base / rule.embedding)
        dimensions = table.dimensions
    except RequestError as error:
        raise RequestError(f"{spec.where('dedup', 'semantic')}: {error}") from error
    if dimensions > MOST_DIMENSIONS:
        message = f"its vectors have {dimensions} dimensions; at most {MOST_DIMENSIONS} are compared exactly"
        raise RequestError(f"{spec.where('dedup', 'semantic')}: {table.table}: {message}")
    return table


def embedding_of(rule: SemanticDedup, table: TableFiles) -> Embedding:
    """The embedding that a spec declares."""
    ratio = rule.chars_per_token
    return Embedding(table, rule.chars, rule.min_chars, (ratio.numerator, ratio.denominator))


def key_of(shard: Shard, embedding: Embedding) -> str:
    """The key of a shard's vectors."""
    return stage_key(STAGE, VERSION, embedding.config, [shard.documents_sha256])


def embed_shards(shards: Sequence[Shard], embedding: Embedding, store: Store, cluster: Cluster) -> list[Receipt]:
    """Make the embeddings that are missing; returns the receipt of every shard, in order."""
    keys = [key_of(shard, embedding) for shard in shards]

    def calls(missing: Mapping[str, Shard]) -> list[tuple[object, ...]]:
        batches = share_shards(missing, cluster)
        return [(store, embedding, [(key, shard.folder) for key, shard in batch]) for batch in batches]

    work = dict(zip(keys, shards, strict=True))
    sizes = text_bytes_of(work)
    receipts = run_missing(store, STAGE, work, calls, write_vectors, cluster, "embeddings", call_bytes=sizes)
    return [receipts[key] for key in keys]


def write_vectors(store: Store, embedding: Embedding, shards: Sequence[tuple[str, str]]) -> None:
    """Write the vectors of shards, given as (key, folder)."""
    dimensions = embedding.table.dimensions
    assert dimensions <= MOST_DIMENSIONS, "products are exact"
    most_bytes = max(embedding.chars, embedding.min_chars) * UTF8_BYTES
    for key, folder in shards:
        with pq.ParquetFile(store.path(f"{folder}/{DOCUMENTS}")) as file:
            documents = file.metadata.num_rows
        compared: list[NDArray[np.bool_]] = [np.zeros(0, np.bool_)]
        with store.attempt(STAGE, key) as attempt:
            with attempt.path(VECTORS).open("wb") as out:
                header = {"descr": "<i2", "fortran_order": False, "shape": (documents, dimensions)}
                np.lib.format.write_array_header_1_0(out, header)
                for data, bounds in iter_texts(store, folder):
                    found = embedding.vectors(_starts(data, bounds, most_bytes))
                    compared.append(np.asarray(found.any(axis=1)))
                    out.write(found.tobytes())
            with attempt.path(COMPARED).open("wb") as out:
                np.save(out, np.concatenate(compared), allow_pickle=False)
            attempt.commit()


def _starts(data: bytes, bounds: NDArray[np.int64], most_bytes: int) -> list[str]:
    """The first bytes of each text of a batch, without a character that they end in."""
    ends = np.minimum(bounds[1:], bounds[:-1] + most_bytes)
    return [
        data[first:last].decode(errors="ignore")
        for first, last in zip(bounds[:-1].tolist(), ends.tolist(), strict=True)
    ]
