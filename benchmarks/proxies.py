"""Training of a proxy against other ways to train the same model, interleaved in one run.

    python benchmarks/proxies.py [--proxy 62m] [--sequence-length 512] [--samples 1] [--rounds 5]

Each way is given the same batch, makes loss and gradient, clips and takes a step of fused AdamW, one after the other,
`rounds` times. On a CPU tokens per CPU-second (user and system) are compared, so that a busy machine is fair to all; on
CUDA tokens per second of wall time. Ways: mixproof, and Hugging Face's LlamaForCausalLM with SDPA. Beside it: what
reading a sample through a blend costs, as a share of a step.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixproof.ledger.store import Store
from mixproof.mixtures.train_spec import Architecture
from mixproof.tokenize.indexed import write_index
from mixproof.train.distributed import process_group
from mixproof.train.draw import Draw
from mixproof.train.model import build_model
from mixproof.train.optimizer import build_optimizer
from mixproof.train.proxies import PROXIES, flops_per_token
from mixproof.train.record import MasksRecord
from mixproof.train.streams import Stream
from mixproof.train.training_loss import training_loss

VOCAB_SIZE = 32000
Step = Callable[[Tensor, Tensor], float]


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


def ours(shape: Architecture, length: int, device: torch.device) -> Step:
    """Our model and loss."""
    model = build_model(shape, vocab_size=VOCAB_SIZE, sequence_length=length, rope_base=10_000, seed=1, device=device)

    def loss_of(tokens: Tensor, labels: Tensor) -> Tensor:
        positions = torch.arange(length, device=device).expand_as(tokens)
        weights = torch.ones_like(labels, dtype=torch.float32)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            total, _ = training_loss(model, tokens, positions, None, labels, weights)
        return total / labels.numel()

    return stepping(model, loss_of)


def hugging_face(shape: Architecture, length: int, device: torch.device) -> Step:
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

    def loss_of(tokens: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss: Tensor = model(input_ids=tokens, labels=labels, shift_labels=labels).loss
        return loss

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proxy", default="62m", choices=sorted(PROXIES))
    parser.add_argument("--sequence-length", type=int, default=512)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    shape, length = PROXIES[arguments.proxy], arguments.sequence_length
    torch.set_num_threads(1)
    with process_group() as ranks:
        device = ranks.device
        ways: dict[str, Step] = {
            "mixproof": ours(shape, length, device),
            "hugging face": hugging_face(shape, length, device),
        }
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(VOCAB_SIZE, (arguments.samples, length + 1), generator=generator).to(device)
        tokens, labels = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        speed: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(arguments.rounds + 1):
            for name, step in ways.items():
                begin = seconds(device)
                loss = step(tokens, labels)
                taken = seconds(device) - begin
                if number:  # the first round fills caches
                    speed[name].append(tokens.numel() / taken)
                elif abs(loss - math.log(VOCAB_SIZE)) > 1:
                    raise SystemExit(f"{name}: a first loss of {loss} is none of a new model")
                else:
                    print(f"{name}: first step {taken:.1f} s, loss {loss:.4f}", flush=True)
    median = {name: statistics.median(values) for name, values in speed.items()}
    loading = loading_seconds(length) * arguments.samples
    step = tokens.numel() / median["mixproof"]
    print(json.dumps({"data_loading_seconds": round(loading, 6), "share_of_step": round(loading / step, 6)}))
    for name, values in speed.items():
        against = {peer: round(median[name] / value, 3) for peer, value in median.items() if peer != name}
        print(
            json.dumps(
                {
                    "way": name,
                    "tokens_per_second": [round(v, 1) for v in values],
                    "median": round(median[name], 1),
                    "times": against,
                    "flops_per_second": int(median[name] * flops_per_token(shape, VOCAB_SIZE, length)),
                }
            )
        )


if __name__ == "__main__":
    main()
