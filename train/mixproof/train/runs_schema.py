"""The columns of `runs.parquet`, the table of all runs in a store.

`flops` is float64 because the count of a large run exceeds 64 bits; the run's record has the exact integer.
"""

from __future__ import annotations

import pyarrow as pa

RUNS_TABLE = "runs.parquet"
TEXT, COUNT = pa.string(), pa.int64()
DELIVERED = pa.struct(
    [
        ("source", TEXT),
        ("samples", COUNT),
        ("tokens", COUNT),
        ("epochs", pa.float64()),
        ("declared", pa.float64()),
        ("planned", COUNT),
        ("unique_tokens", COUNT),
    ]
)
PHASE = pa.struct([("first_sample", COUNT), ("samples", COUNT), ("samples_of", pa.map_(TEXT, COUNT))])
HELDOUT = pa.struct(
    [
        ("source", TEXT),
        ("loss", pa.float64()),
        ("bits_per_byte", pa.float64()),
        ("tokens", COUNT),
        ("bytes", COUNT),
        ("documents", COUNT),
        ("texts_sha256", TEXT),
    ]
)
SCHEMA = pa.schema(
    [
        *((name, TEXT) for name in ("key", "build", "spec_name", "mixture", "proxy")),
        ("seed", COUNT),
        ("status", TEXT),
        ("reason", TEXT),
        *((name, COUNT) for name in ("parameters", "non_embedding", "tokens_declared", "tokens_planned")),
        *((name, COUNT) for name in ("consumed_samples", "consumed_tokens", "unique_tokens", "steps")),
        ("flops", pa.float64()),
        *((name, COUNT) for name in ("sequence_length", "global_batch_size", "rope_base")),
        ("dtype", TEXT),
        ("recipe", pa.map_(TEXT, TEXT)),
        ("masks", pa.map_(TEXT, pa.bool_())),
        ("architecture", pa.map_(TEXT, COUNT)),
        ("init_from", TEXT),
        ("prior_tokens", COUNT),
        ("tokenizer", TEXT),
        ("vocab_size", COUNT),
        ("lossless", pa.bool_()),
        ("evaluation_protocol", COUNT),
        ("delivered", pa.list_(DELIVERED)),
        ("phases", pa.list_(PHASE)),
        ("heldout", pa.list_(HELDOUT)),
        ("record_sha256", TEXT),
    ]
)
