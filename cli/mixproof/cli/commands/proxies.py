"""`mixproof proxies`: the shipped proxy models and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import typer

from mixproof.cli.options import JsonOption, VerboseOption
from mixproof.cli.output import emit_json, stdout, table
from mixproof.train.proxies import PROXIES, count_parameters, flops_per_token, memory_of

VocabOption = Annotated[int, typer.Option("--vocab-size", min=1, help="Number of token ids.")]
SequenceOption = Annotated[int, typer.Option("--sequence-length", min=1, help="Tokens in a training window.")]
BatchOption = Annotated[int, typer.Option("--micro-batch-size", min=1, help="Samples in a forward pass.")]
PrecisionOption = Annotated[
    Literal["float32", "bfloat16"],
    typer.Option("--dtype", help="dtype of the forward pass: float32 on CPU, bfloat16 on CUDA."),
]

SHAPE = ("parameters", "non_embedding", "layers", "hidden", "ffn", "heads", "kv_heads", "flops_per_token")
MEMORY = ("weight_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes", "training_bytes", "checkpoint_bytes")


def proxies(
    vocab_size: VocabOption = 32000,
    sequence_length: SequenceOption = 2048,
    micro_batch_size: BatchOption = 1,
    dtype: PrecisionOption = "float32",
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Show the shipped proxies: shape, parameters, FLOPs per token, training memory, checkpoint size."""
    rows: list[dict[str, object]] = []
    for name, shape in PROXIES.items():
        parameters = count_parameters(shape, vocab_size)
        width = 4 if dtype == "float32" else 2
        memory = memory_of(
            shape, vocab_size, sequence_length, micro_batch_size=micro_batch_size, activation_width=width
        )
        rows.append(
            {
                "name": name,
                "parameters": parameters.total,
                "non_embedding": parameters.non_embedding,
                **shape.model_dump(),
                "vocab_size": vocab_size,
                "flops_per_token": flops_per_token(shape, vocab_size, sequence_length),
                "weight_bytes": memory.weights,
                "gradient_bytes": memory.gradients,
                "optimizer_bytes": memory.optimizer,
                "activation_bytes": memory.activations,
                "training_bytes": memory.training,
                "checkpoint_bytes": memory.checkpoint,
            }
        )
    if as_json:
        emit_json({"proxies": rows})
        return
    _print(f"Proxies, with a vocabulary of {vocab_size:,}", SHAPE, rows)
    window = f"{micro_batch_size} x {sequence_length:,} tokens per forward pass in {dtype}"
    _print(f"Estimated memory, {window}", MEMORY, rows)


def _print(title: str, names: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    cells = [(str(row["name"]), *(f"{row[name]:,}" for name in names)) for row in rows]
    stdout.print(table(title, ("name", *(name.replace("_", " ") for name in names)), cells))
