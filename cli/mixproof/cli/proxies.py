"""`mixproof proxies`: the shipped proxy models and what they cost."""

from __future__ import annotations

from typing import Annotated

import typer

from mixproof.train.proxies import PROXIES, count_parameters, flops_per_token

from .options import JsonOption
from .output import emit_json, stdout, table

VocabOption = Annotated[int, typer.Option("--vocab-size", min=1, help="Number of token ids.")]
SequenceOption = Annotated[int, typer.Option("--sequence-length", min=1, help="Tokens in a training window.")]
BYTES_PER_PARAMETER = 4
"""Weights in float32; the optimizer holds two more such numbers a parameter."""


SHOWN = (
    "parameters",
    "non_embedding",
    "layers",
    "hidden",
    "ffn",
    "heads",
    "kv_heads",
    "flops_per_token",
    "checkpoint_bytes",
)


def proxies(
    vocab_size: VocabOption = 32000, sequence_length: SequenceOption = 2048, as_json: JsonOption = False
) -> None:
    """Show the shipped proxies: shape, parameters, FLOPs per token, bytes of weights and of a checkpoint."""
    rows: list[dict[str, object]] = []
    for name, shape in PROXIES.items():
        parameters = count_parameters(shape, vocab_size)
        weights = BYTES_PER_PARAMETER * parameters.total
        rows.append(
            {
                "name": name,
                "parameters": parameters.total,
                "non_embedding": parameters.non_embedding,
                **shape.model_dump(),
                "vocab_size": vocab_size,
                "flops_per_token": flops_per_token(shape, vocab_size, sequence_length),
                "weight_bytes": weights,
                "checkpoint_bytes": 3 * weights,
            }
        )
    if as_json:
        emit_json({"proxies": rows})
        return
    cells = [(str(row["name"]), *(f"{row[name]:,}" for name in SHOWN)) for row in rows]
    columns = ("name", *(name.replace("_", " ") for name in SHOWN))
    stdout.print(table(f"Proxies at a vocabulary of {vocab_size:,}", columns, cells))
