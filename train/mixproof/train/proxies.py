"""The proxy models: shapes, parameters, FLOPs and memory, counted without building a model.

32 layers, RMSNorm, SwiGLU, rotary positions, grouped-query attention, tied embeddings, no biases. At a vocabulary of
32,000 the counts are a contract: 62m has 62,644,608 parameters, 350m 345,355,200, nano 3,625,024. A test builds all
three with Megatron Core and counts the same. The vocabulary is never padded. Nothing here imports torch, so
`mixproof proxies` and `plan` start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.train import Architecture, Proxy, RateSweep

PROXIES = {
    "62m": Architecture(layers=32, hidden=384, ffn=1024, heads=6, kv_heads=2, head_dim=64),
    "350m": Architecture(layers=32, hidden=960, ffn=2560, heads=15, kv_heads=5, head_dim=64),
    "nano": Architecture(layers=32, hidden=64, ffn=192, heads=4, kv_heads=2, head_dim=16),
}


@dataclass(frozen=True)
class Parameters:
    """Number of parameters."""

    total: int
    """The embedding counts once, because the output layer shares it."""
    non_embedding: int
    """All except the embedding."""


def architecture_of(name: str, proxy: Proxy) -> Architecture:
    """Return the shape given in the spec, or that of a shipped proxy: `proxy.shape`, by default `name`.

    Raises:
        RequestError: when there is neither, or the shape cannot be built.
    """
    architecture = proxy.architecture or PROXIES.get(proxy.shape or name)
    if architecture is None:
        at, shipped = f"train.proxies.{name}", ", ".join(PROXIES)
        if proxy.shape is not None:
            raise RequestError(f"{at}.shape: {proxy.shape!r} is not a shipped proxy ({shipped}); set `architecture`")
        raise RequestError(f"{at}: this is not a shipped proxy ({shipped}); set its `architecture`")
    _check(name, architecture)
    return architecture


def rates_of(name: str, proxy: Proxy) -> tuple[Fraction, Fraction]:
    """Peak and final learning rate.

    Raises:
        RequestError: when a sweep has not chosen the rate yet.
    """
    if isinstance(proxy.lr, RateSweep):
        raise RequestError(
            f"train.proxies.{name}.lr: the sweep has not chosen a rate yet; `mixproof train` trains the anchor at each"
        )
    return proxy.lr, proxy.lr / 10 if proxy.min_lr is None else proxy.min_lr


def count_parameters(architecture: Architecture, vocab_size: int) -> Parameters:
    """Count the parameters of a model with this shape and vocabulary."""
    embedding = vocab_size * architecture.hidden
    norms = (2 * architecture.layers + 1) * architecture.hidden
    non_embedding = architecture.layers * _matrix_weights_per_layer(architecture) + norms
    return Parameters(total=embedding + non_embedding, non_embedding=non_embedding)


def flops_per_token(architecture: Architecture, vocab_size: int, sequence_length: int) -> int:
    """Count the FLOPs of training on one token, forward and backward.

    6 per weight of every matrix, including the output layer (2 forward, 4 backward), and for attention
    6 · layers · heads · head_dim · sequence length: scores and values take 2 · 2 · head_dim per head and visible
    position forward, twice that backward, and a causal token sees half the sequence on average. Norms, activations,
    softmax and the optimizer are not counted.
    """
    matrices = architecture.layers * _matrix_weights_per_layer(architecture) + vocab_size * architecture.hidden
    attention = architecture.layers * architecture.heads * architecture.head_dim * sequence_length
    return 6 * matrices + 6 * attention


def flops_of_tokens(architecture: Architecture, vocab_size: int, tokens_by_length: Mapping[int, int]) -> int:
    """Count the FLOPs of training on tokens in windows of several sequence lengths."""
    return sum(
        tokens * flops_per_token(architecture, vocab_size, length) for length, tokens in tokens_by_length.items()
    )


LOSS_ROWS = {"cpu": 512, "cuda": 4096}
"""Tokens whose logits are held at once in training, by device: 66 MB at a vocabulary of 32,000 on a CPU."""


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes on one device, without the batch's ids, library buffers and fragmentation."""

    weights: int
    """4 per parameter: float32 on every device."""
    gradients: int
    """4 per parameter."""
    optimizer: int
    """8 per parameter: AdamW's two moments in float32."""
    activations: int
    """Kept by the forward pass for the backward pass (`activation_bytes`), and the logits of a block of rows."""
    checkpoint: int
    """12 per parameter: weights and moments on disk; the remainder takes kilobytes."""

    @property
    def training(self) -> int:
        """All except the checkpoint."""
        return self.weights + self.gradients + self.optimizer + self.activations


def memory_of(
    architecture: Architecture, vocab_size: int, sequence_length: int, *, micro_batch_size: int, activation_width: int
) -> Memory:
    """Estimate the memory of training.

    Args:
        architecture: the shape.
        vocab_size: number of token ids.
        sequence_length: tokens per sample.
        micro_batch_size: samples per forward pass.
        activation_width: bytes per number in the forward pass: 4 in float32, 2 in bfloat16.
    """
    total = count_parameters(architecture, vocab_size).total
    tokens = micro_batch_size * sequence_length
    rows = min(tokens, LOSS_ROWS["cpu" if activation_width == 4 else "cuda"])
    activations = tokens * activation_bytes(architecture, activation_width) + 4 * rows * vocab_size
    return Memory(4 * total, 4 * total, 8 * total, activations, 12 * total)


def activation_bytes(architecture: Architecture, activation_width: int) -> int:
    """Estimate the bytes that the forward pass keeps for one token, without recomputation.

    With h = hidden, f = ffn, a = heads × head_dim, k = kv_heads × head_dim and w = bytes per number, a layer keeps
    w × (4h + 3a + 2k + 3f): the inputs of both norms and of the matrices after them, the rotated queries and keys and
    the values, the attention output twice, and gate, up and their product. SDPA keeps no scores. This is 0.992 (nano)
    and 0.996 (62m) of what autograd was measured to keep at 256 and 512 tokens. It was not measured on CUDA, where
    autocast keeps copies.
    """
    attention, keys = architecture.heads * architecture.head_dim, architecture.kv_heads * architecture.head_dim
    layer = 4 * architecture.hidden + 3 * attention + 2 * keys + 3 * architecture.ffn
    return architecture.layers * activation_width * layer


def _matrix_weights_per_layer(architecture: Architecture) -> int:
    queries = architecture.heads * architecture.head_dim
    keys_and_values = 2 * architecture.kv_heads * architecture.head_dim
    attention = architecture.hidden * (queries + keys_and_values) + queries * architecture.hidden
    gate_up_down = 3 * architecture.hidden * architecture.ffn
    return attention + gate_up_down


def _check(name: str, architecture: Architecture) -> None:
    where = f"train.proxies.{name}.architecture"
    for key, value in architecture.model_dump().items():
        if value < 1:
            raise RequestError(f"{where}.{key}: {value}; every size must be at least 1")
    if architecture.heads % architecture.kv_heads:
        raise RequestError(
            f"{where}: heads ({architecture.heads}) must be a multiple of kv_heads ({architecture.kv_heads})"
        )
    if architecture.head_dim % 2:
        raise RequestError(
            f"{where}.head_dim: {architecture.head_dim} is odd; it must be even, because rotary positions rotate "
            "pairs of dimensions"
        )
