"""The proxy as a Megatron Core GPTModel, one code path for CPU and CUDA.

Weights are float32 and initialized on the CPU, so a seed gives the same initial weights on every device. Megatron needs
its process groups even for one rank: build inside `distributed.process_group`. Its output stays parallel
(`parallel_output=True`; False breaks the backward pass with labels), so logits need `runtime_gather_output=True`.
"""

from __future__ import annotations

from functools import partial

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.parallel_state import get_tensor_model_parallel_group
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mixproof.ledger.fingerprint import derive_seed
from mixproof.mixtures.blocks.train import Architecture

from .attention import DeviceRotaryEmbedding, ProxySelfAttention, SdpaCoreAttention
from .layer_math import PLAIN, LayerMath, rms_norm, swiglu

NORM_EPSILON = 1e-5
INIT_STD = 0.02


def model_config(architecture: Architecture, *, initialize: bool = True) -> TransformerConfig:
    """Megatron's configuration of a proxy; with `initialize=False` the weights stay as allocated."""
    return TransformerConfig(
        num_layers=architecture.layers,
        hidden_size=architecture.hidden,
        ffn_hidden_size=architecture.ffn,
        num_attention_heads=architecture.heads,
        num_query_groups=architecture.kv_heads,
        kv_channels=architecture.head_dim,
        normalization="RMSNorm",
        layernorm_epsilon=NORM_EPSILON,
        gated_linear_unit=True,
        activation_func=functional.silu,
        add_bias_linear=False,
        add_qkv_bias=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        init_method_std=INIT_STD,
        params_dtype=torch.float32,
        pipeline_dtype=torch.float32,
        use_cpu_initialization=True,
        perform_initialization=initialize,
        # unused fusions: they need CUDA, biases or Transformer Engine
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        apply_rope_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        cuda_graph_scope=[],  # the default is a deprecated spelling of this, which Megatron warns about
    )


class ProxyNorm(torch.nn.Module):
    """RMSNorm with the constructor that Megatron's layers call."""

    math: LayerMath = PLAIN
    """Used in training; scoring is always plain."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(hidden_size))
        self._epsilon = eps

    def forward(self, states: Tensor) -> Tensor:
        """Normalize states [..., hidden]."""
        return rms_norm(states, self.weight, self._epsilon, self.math if self.training else PLAIN)


class ProxyMlp(MLP):  # type: ignore[misc]  # megatron-core has no types
    """Megatron's feed-forward layer and its weights; Megatron's gate makes seven passes over the activations."""

    math: LayerMath = PLAIN
    """Used in training; scoring is always plain."""
    matrices = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(
            config=config,
            submodules=self.matrices,
            ffn_hidden_size=config.ffn_hidden_size,
            tp_group=get_tensor_model_parallel_group(),
        )

    def forward(self, hidden_states: Tensor, **_others: object) -> tuple[Tensor, None]:
        """Map [sequence, batch, hidden] to [sequence, batch, hidden], and no bias."""
        gate_and_up, _ = self.linear_fc1(hidden_states)
        out, bias = self.linear_fc2(swiglu(gate_and_up, self.math if self.training else PLAIN))
        return out, bias


def block_spec(layers: int) -> TransformerBlockSubmodules:
    """Megatron's layers and weights with this package's norm, attention and gate (Megatron's attention needs CUDA)."""
    spec = get_gpt_layer_local_spec(normalization="RMSNorm")
    parts = spec.submodules
    parts.input_layernorm = parts.pre_mlp_layernorm = ProxyNorm
    parts.self_attention.module = ProxySelfAttention
    parts.self_attention.submodules.core_attention = SdpaCoreAttention
    parts.mlp = ProxyMlp
    return TransformerBlockSubmodules(layer_specs=[spec] * layers, layer_norm=ProxyNorm)


def use_math(model: GPTModel, math: LayerMath) -> None:
    """Use `math` in training for everything between the layers' matrix products."""
    for module in model.modules():
        if isinstance(module, (ProxyNorm, ProxyMlp, ProxySelfAttention)):
            module.math = math


def build_model(
    architecture: Architecture,
    *,
    vocab_size: int,
    sequence_length: int,
    rope_base: int,
    seed: int,
    device: torch.device,
) -> GPTModel:
    """Build a proxy with the initial weights of `seed` on `device`.

    On the meta device the weights have shapes but no values.
    """
    on_meta = device.type == "meta"
    torch.manual_seed(derive_seed("weights", seed))
    with torch.device("meta" if on_meta else "cpu"):
        model = assemble(
            model_config(architecture, initialize=not on_meta),
            block_spec(architecture.layers),
            vocab_size=vocab_size,
            sequence_length=sequence_length,
            rope_base=rope_base,
        )
    model.rotary_pos_emb = DeviceRotaryEmbedding(
        kv_channels=architecture.head_dim, rotary_base=rope_base, device=device
    )
    return model.to(device)


def assemble(
    config: TransformerConfig,
    block: TransformerBlockSubmodules,
    *,
    vocab_size: int,
    sequence_length: int,
    rope_base: int,
) -> GPTModel:
    """Build a GPTModel of these layers with Megatron's own rotary embedding."""
    return GPTModel(
        config=config,
        transformer_layer_spec=block,
        vocab_size=vocab_size,
        max_sequence_length=sequence_length,
        position_embedding_type="rope",
        rotary_percent=1.0,
        rotary_base=rope_base,
        share_embeddings_and_output_weights=True,
    )


def recompute_layers(model: GPTModel) -> None:
    """Make each decoder layer drop its activations and recompute them, bit for bit, in the backward pass.

    Megatron's own recomputation saves CUDA's random states and does not run on a CPU; these models use no randomness.
    """
    for layer in model.decoder.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
