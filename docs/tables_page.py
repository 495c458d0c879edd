"""The reference of the tables that runs leave: their columns, from the schemas and the records that fill them."""

from __future__ import annotations

import pyarrow as pa

from dataclass_fields import field_rows, markdown_table
from mixproof.train.loop.evaluations import Evaluation
from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.loop.throughput import Throughput
from mixproof.train.runs_schema import SCHEMA

RUNS_INTRODUCTION = """\
`<store>/runs.parquet`: one row per run of the store, failed runs included, in the order of their keys. It is written
from the records (`train/<key>/run.json`) whenever runs end, and says nothing that they do not say. `mixproof audit`
checks it against them. `mixproof.open(store).runs.to_arrow()` has the same columns, made from the records as they are
now.
"""
COLUMNS = {
    "key": "SHA-256 of what the run depends on; the name of its folder",
    "build": "id of the build that it was trained on",
    "spec_name": "`name` of the spec that trained it first",
    "mixture": "name of the mixture",
    "proxy": "name of the proxy",
    "seed": "seed of initial weights and data order",
    "status": "`done` or `failed`",
    "reason": "why the run failed; null where it did not",
    "parameters": "weights; tied embeddings count once",
    "non_embedding": "weights without the embeddings",
    "tokens_declared": "budget of the spec",
    "tokens_planned": "the same, rounded up to whole steps",
    "consumed_samples": "training windows up to the last checkpoint",
    "consumed_tokens": "`consumed_samples` × `sequence_length`",
    "unique_tokens": "tokens of all draws that were seen at least once",
    "steps": "steps of the optimizer",
    "flops": "FLOPs of training, forward and backward; the record has the exact integer",
    "sequence_length": "tokens of a training window",
    "global_batch_size": "windows of a step",
    "rope_base": "theta of the rotary embeddings",
    "dtype": "`float32` or `bfloat16`: arithmetic of the forward pass",
    "recipe": "learning rates, warm-up, decay, weight decay, clip and betas as exact strings",
    "masks": "`document_mask`, `eod_mask_loss`, `reset_position_ids`",
    "architecture": "layers, widths and heads",
    "init_from": "SHA-256 of the checkpoint that it started from; null for fresh weights",
    "prior_tokens": "tokens that this checkpoint had been trained on",
    "tokenizer": "SHA-256 of the tokenizer's file",
    "vocab_size": "ids of the tokenizer, added tokens included",
    "lossless": "whether decoding gives every held-out text back, byte for byte",
    "evaluation_protocol": "version of how held-out sets are scored; scores of different versions are not comparable",
    "delivered": "by source, what the run consumed, replayed from its index",
    "phases": "stretches of the run with shares of their own, in samples",
    "heldout": "by held-out set, the score after the last step",
    "record_sha256": "SHA-256 of `run.json`",
}
PARTS = {
    "delivered": {
        "source": "name of the source",
        "samples": "training windows",
        "tokens": "`samples` × `sequence_length`",
        "epochs": "passes over the source; 2.0 means that every window was seen twice",
        "declared": "share of the run's tokens that the spec declares",
        "planned": "tokens by the budget",
        "unique_tokens": "tokens of the draw that were seen at least once",
    },
    "phases": {
        "first_sample": "where the phase begins",
        "samples": "its windows",
        "samples_of": "windows by source; they sum to `samples`",
    },
    "heldout": {
        "source": "name of the held-out set",
        "loss": "nats per token, EODs included",
        "bits_per_byte": "bits per UTF-8 byte of the texts",
        "tokens": "tokens that were scored",
        "bytes": "UTF-8 bytes of the texts",
        "documents": "documents of the set",
        "texts_sha256": "of the texts: equal in builds that share the set",
    },
}
LINES = (
    (
        "metrics.jsonl",
        StepMetrics,
        "In a run's folder: a line a step, without gaps or duplicates, however often the run was resumed.",
    ),
    (
        "evaluations.jsonl",
        Evaluation,
        "In a run's folder, where the spec has `evaluate_every`: a line an evaluation while the run trains.",
    ),
    (
        "throughput.jsonl",
        Throughput,
        "In a run's folder: one line about every ten seconds of each attempt. It is not part of the run's identity.",
    ),
)


def tables_page(made: str) -> str:
    """Write the page.

    Raises:
        ValueError: when a column has no explanation, or an explanation no column.
    """
    if list(COLUMNS) != SCHEMA.names:
        raise ValueError(f"runs.parquet: not the same columns: {sorted(set(COLUMNS) ^ set(SCHEMA.names))}")
    parts = [f"{made}# Tables of runs\n", "## runs.parquet\n", RUNS_INTRODUCTION]
    rows = [(f"`{name}`", _type(SCHEMA.field(name).type), about) for name, about in COLUMNS.items()]
    parts.append(markdown_table(("column", "type", "what"), rows))
    for name, fields in PARTS.items():
        item = SCHEMA.field(name).type.value_type
        if list(fields) != [field.name for field in item]:
            raise ValueError(f"runs.parquet: {name}: not the same fields")
        rows = [(f"`{field}`", _type(item.field(field).type), about) for field, about in fields.items()]
        parts += [f"A row of `{name}`:\n", markdown_table(("field", "type", "what"), rows)]
    for name, kind, about in LINES:
        parts += [f"## {name}\n\n{about}\n", markdown_table(("key", "type", "what"), field_rows(kind))]
    return "\n".join(parts).rstrip() + "\n"


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "list of rows, below"
    if pa.types.is_map(kind):
        return f"map of {kind.key_type} to {kind.item_type}"
    return str(kind)
