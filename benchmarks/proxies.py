"""Training of a proxy against other ways to train the same model, interleaved in one run.

    python benchmarks/proxies.py [--proxy 62m] [--sequence-length 1024] [--samples 1] [--rounds 8]

Ways, all with as many weights: mixproof, with plain and with compiled layers; Hugging Face's LlamaForCausalLM with
SDPA, plain and (`--compile-peer`) compiled whole; and on a CPU Megatron Core with its own local attention and loss.
Each is given the same batch, makes loss and gradient, clips and takes a step of fused AdamW, one after the other,
`rounds` times after a first round that fills caches; in every other round in the opposite order. Of two steps in a row
the second is measured. On a CPU tokens per CPU-second (user and system) are compared, so that a busy machine is fair to
all; on CUDA tokens per second of wall time. Beside it: reading a sample through a blend as a share of a step, scoring a
token as a share of training one.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from megatron.core import parallel_state, tensor_parallel
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from torch import Tensor

from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.train import Architecture
from mixproof.tokenize.dataset.indexed import write_index
from mixproof.train.data.streams import Stream
from mixproof.train.distributed import process_group
from mixproof.train.evaluate.evaluate import evaluate
from mixproof.train.evaluate.heldout_parts import HeldoutDocuments
from mixproof.train.model import layer_math
from mixproof.train.model.model import build_model, model_config, use_math
from mixproof.train.model.optimizer import build_optimizer
from mixproof.train.model.training_loss import training_loss
from mixproof.train.proxies import PROXIES, count_parameters, flops_per_token
from mixproof.train.record import MasksRecord
from mixproof.train.request import Draw

VOCAB_SIZE = 32000
Step = Callable[[Tensor, Tensor], float]
Speeds = dict[str, list[float]]


def stepping(model: torch.nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """Make the step of a model: the same clipping and optimizer for every way."""
    optimizer = build_optimizer(model, lr=1e-4, betas=(0.9, 0.95))
    parameters = list(model.parameters())

    def step(tokens: Tensor, labels: Tensor) -> float:
        loss = loss_of(tokens, labels)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def ours(shape: Architecture, length: int, device: torch.device, *, compiled: bool) -> Step:
    """Our model and loss."""
    model = build_model(shape, vocab_size=VOCAB_SIZE, sequence_length=length, rope_base=10_000, seed=1, device=device)
    if compiled:
        use_math(model, layer_math.compiled())

    def loss_of(tokens: Tensor, labels: Tensor) -> Tensor:
        positions = torch.arange(length, device=device).expand_as(tokens)
        weights = torch.ones_like(labels, dtype=torch.float32)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            total, _ = training_loss(model, tokens, positions, None, labels, weights)
        return total / labels.numel()

    return stepping(model, loss_of)


def hugging_face(shape: Architecture, length: int, device: torch.device, *, compiled: bool) -> Step:
    """The same shape as transformers has it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=length,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model: Any = LlamaForCausalLM(config).to(device)
    assert sum(weight.numel() for weight in model.parameters()) == count_parameters(shape, VOCAB_SIZE).total
    if compiled:
        model.compile()

    def loss_of(tokens: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss: Tensor = model(input_ids=tokens, labels=labels, shift_labels=labels).loss
        return loss

    return stepping(model, loss_of)


class CpuMemory:
    """In place of Megatron's memory for scores, which is always on the current CUDA device."""

    def get_tensor(self, shape: list[int], dtype: torch.dtype, name: str, mem_alloc_context: object = None) -> Tensor:
        """Memory for scores."""
        return torch.empty(shape, dtype=dtype)


class NoDropout:
    """Replaces Megatron's random states, which are CUDA's and which it requests even without dropout."""

    def fork(self) -> AbstractContextManager[None]:
        """Nothing to draw."""
        return nullcontext()


class CpuRotaryEmbedding(RotaryEmbedding):  # type: ignore[misc]  # megatron-core has no types
    """Megatron's angles without their way to the current CUDA device."""

    def get_emb(self, max_seq_len: int, offset: int = 0) -> Tensor:
        """Angles, as Megatron's."""
        halves = self.get_freqs_non_repeated(max_seq_len, offset)
        return torch.cat((halves, halves), dim=-1)[:, None, None, :]


def megatron(shape: Architecture, length: int) -> Step:
    """Megatron Core's own layers, attention and loss; on a CPU."""
    parallel_state._GLOBAL_MEMORY_BUFFER = CpuMemory()
    tensor_parallel.get_cuda_rng_tracker = NoDropout
    model = GPTModel(
        config=model_config(shape),
        transformer_layer_spec=get_gpt_layer_local_spec(normalization="RMSNorm"),
        vocab_size=VOCAB_SIZE,
        max_sequence_length=length,
        position_embedding_type="rope",
        share_embeddings_and_output_weights=True,
    )
    model.rotary_pos_emb = CpuRotaryEmbedding(shape.head_dim, 1.0, use_cpu_initialization=True)
    assert sum(weight.numel() for weight in model.parameters()) == count_parameters(shape, VOCAB_SIZE).total
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)[None, None]
    positions = torch.arange(length)[None]

    def loss_of(tokens: Tensor, labels: Tensor) -> Tensor:
        losses: Tensor = model(tokens, positions.expand_as(tokens), hidden, labels=labels)
        return losses.mean()

    return stepping(model, loss_of)


def loading_seconds(length: int, samples: int = 400) -> float:
    """CPU seconds that reading one sample takes, from documents of about 500 tokens."""
    with TemporaryDirectory() as folder:
        store = Store(folder)
        lengths = np.random.default_rng(1).integers(1, 1000, 4 * length * samples // 500).astype(np.int32)
        tokens = np.random.default_rng(2).integers(3, VOCAB_SIZE, int(lengths.sum())).astype(np.uint16)
        path = store.path("draw/key/source.bin")
        path.parent.mkdir(parents=True)
        tokens.tofile(path)
        write_index(path.with_suffix(".idx"), lengths, tokens.dtype)
        counts = (len(lengths), len(tokens))
        draw = Draw("source", "key", "draw/key/source", *counts, "", "", "draw/key/source.parquet", "", *counts)
        masks = MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False)
        stream = Stream(
            store.path(draw.prefix), draw, seed=1, sequence_length=length, masks=masks, eod_id=2, vocab_size=VOCAB_SIZE
        )
        stream.sample(0)
        begin = seconds(torch.device("cpu"))
        for number in range(1, samples):
            stream.sample(number)
        return (seconds(torch.device("cpu")) - begin) / (samples - 1)


def seconds(device: torch.device) -> float:
    """CPU seconds of this process, or wall seconds behind everything that the GPU was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def scoring_seconds(shape: Architecture, length: int, device: torch.device) -> float:
    """Seconds to score one held-out token: four documents of a window each."""
    model = build_model(shape, vocab_size=VOCAB_SIZE, sequence_length=length, rope_base=10_000, seed=1, device=device)
    starts = np.arange(5, dtype=np.int64) * length
    ids = np.random.default_rng(1).integers(3, VOCAB_SIZE, 4 * length).astype(np.int32)
    names = HeldoutDocuments("source", ids, starts, [""] * 4, np.arange(4), np.full(4, length), [""] * 4)
    begin = seconds(device)
    evaluate(model, names, eod_id=2, sequence_length=length, device=device)
    return (seconds(device) - begin) / len(ids)


def times(values: list[float], peer: list[float]) -> float:
    """Median over rounds of how much faster one way was than a peer in the same round."""
    return statistics.median(one / other for one, other in zip(values, peer, strict=True))


def measure(
    ways: dict[str, Step], rounds: int, batch: tuple[Tensor, Tensor], device: torch.device, steps: int = 1
) -> Speeds:
    """Tokens per second of each way in each round of this many steps."""
    tokens, labels = batch
    speeds: Speeds = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in list(ways) if number % 2 else reversed(ways):
            loss = ways[name](tokens, labels)  # its weights lay idle, and hosts of virtual machines take such memory
            begin = seconds(device)
            for _ in range(steps):
                ways[name](tokens, labels)
            taken = (seconds(device) - begin) / steps
            if number:  # the first round fills caches
                speeds[name].append(tokens.numel() / taken)
            elif abs(loss - math.log(VOCAB_SIZE)) > 1:
                raise ValueError(f"{name}: a first loss of {loss}, where a new model has {math.log(VOCAB_SIZE):.2f}")
            else:
                print(f"{name}: step {taken:.2f} s, first loss {loss:.4f}", file=sys.stderr, flush=True)
    return speeds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proxy", default="62m", choices=sorted(PROXIES))
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--compile-peer", action="store_true", help="compile LlamaForCausalLM as well")
    arguments = parser.parse_args()
    shape, length = PROXIES[arguments.proxy], arguments.sequence_length
    torch.set_num_threads(1)
    with process_group() as ranks:
        device = ranks.device
        ways = {
            "mixproof, compiled": ours(shape, length, device, compiled=True),
            "mixproof": ours(shape, length, device, compiled=False),
            "hugging face": hugging_face(shape, length, device, compiled=False),
        }
        if arguments.compile_peer:
            ways["hugging face, compiled"] = hugging_face(shape, length, device, compiled=True)
        if device.type == "cpu":
            ways["megatron"] = megatron(shape, length)
        ids = torch.randint(VOCAB_SIZE, (arguments.samples, length + 1), generator=torch.Generator().manual_seed(1)).to(
            device
        )
        batch = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        speeds = measure(ways, arguments.rounds, batch, device)
        scoring = scoring_seconds(shape, length, device)
    median = {name: statistics.median(values) for name, values in speeds.items()}
    step = batch[0].numel() / median["mixproof"]
    loading = loading_seconds(length) * arguments.samples
    print(json.dumps({"data_loading_seconds": round(loading, 6), "share_of_step": round(loading / step, 6)}))
    of_training = scoring * median["mixproof"]
    print(json.dumps({"seconds_a_scored_token": round(scoring, 8), "share_of_a_trained_token": round(of_training, 4)}))
    for name, values in speeds.items():
        line = {
            "way": name,
            "tokens_per_second": [round(value, 1) for value in values],
            "median": round(median[name], 1),
            "times": {peer: round(times(values, speeds[peer]), 3) for peer in speeds if peer != name},
            "flops_per_second": int(median[name] * flops_per_token(shape, VOCAB_SIZE, length)),
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
