"""Whether a learning rate tuned at a narrow width is the best one at a wide one, with muP and without.

    python benchmarks/mup.py FOLDER [--widths 64 256] [--rates .0005 .001 .002 .004 .008] [--output 4] [--plain]
    python benchmarks/mup.py FOLDER --coordinates [--widths 64 128 256 512]

FOLDER has text as JSON lines or Parquet with a field `text` (`.jsonl`, `.jsonl.zst`, `.parquet`). The models are
proxies of 2 layers with heads of 16, trained on 8 x 64 tokens a step of a vocabulary of 1,000, by the code of a run.
Printed: the loss on held-out windows by width and rate. `--output` is `mup.output` of a spec; `--plain` trains without
muP.

With `--coordinates` ten steps are trained at one rate, and the root mean square of the residual stream after every
layer and of the logits is printed by width: with muP it stays the same, without muP the logits grow with the width.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import zstandard
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from torch import Tensor
from torch.nn import functional

from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.distributed import process_group
from mixproof.train.model.model import build_model
from mixproof.train.model.mup import scale_initial_weights
from mixproof.train.model.optimizer import build_optimizer

BASE, LAYERS, HEAD, VOCABULARY, LENGTH, BATCH, HELDOUT = 64, 2, 16, 1000, 64, 8, 64
TEXTS, CHARS = 4000, 4000
WARMUP, DECAY, CLIP, WEIGHT_DECAY = 0.05, 0.2, 1.0, 0.1
POSITIONS = torch.arange(LENGTH)


def main() -> None:
    """Print losses, or coordinates, by width."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0005, 0.001, 0.002, 0.004, 0.008])
    parser.add_argument("--output", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--coordinates", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    windows = read_windows(options.folder)
    with process_group("cpu"):
        for hidden in options.widths:
            width = None if options.plain else hidden / BASE
            if options.coordinates:
                found = coordinates(windows, hidden, width, options.output)
                print(f"{hidden}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
                continue
            losses = [
                heldout_loss(train(windows, hidden, width, options.output, rate, options.steps), windows)
                for rate in options.rates
            ]
            best = min(losses)
            cells = [
                f"{rate:g}: {loss:.4f} (+{loss / best - 1:.1%})"
                for rate, loss in zip(options.rates, losses, strict=True)
            ]
            print(f"{hidden}: {', '.join(cells)}", flush=True)


def train(windows: Tensor, hidden: int, width: float | None, output: float, rate: float, steps: int) -> torch.nn.Module:
    """Train one model by the steps of a run."""
    shape = Architecture(
        layers=LAYERS, hidden=hidden, ffn=3 * hidden, heads=hidden // HEAD, kv_heads=hidden // (2 * HEAD), head_dim=HEAD
    )
    model: torch.nn.Module = build_model(
        shape, vocab_size=VOCABULARY, sequence_length=LENGTH, rope_base=10_000, seed=1, device=torch.device("cpu")
    )
    scale, factor = (1.0, 1.0) if width is None else (width, output)
    scale_initial_weights(model, scale, factor)
    optimizer = build_optimizer(model, lr=rate, betas=(0.9, 0.95), min_lr=rate / 10, width=scale, output=factor)
    warm, decay = max(1, int(WARMUP * steps)), int(DECAY * steps)
    rows = windows[HELDOUT:]
    for step in range(steps):
        at = (step * BATCH) % (len(rows) - BATCH)
        torch.autograd.backward(loss_of(model, rows[at : at + BATCH]))
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        left = (steps - step) / decay if decay else 1.0
        now = min(1.0, step / warm) * (1.0 if left >= 1 else 0.1 + 0.9 * (1 - math.sqrt(1 - left)))
        for group in optimizer.param_groups:
            group["lr"], group["weight_decay"] = now * group.get("max_lr", rate), WEIGHT_DECAY * group["wd_mult"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model


def loss_of(model: torch.nn.Module, rows: Tensor) -> Tensor:
    """Mean loss of windows [rows, length + 1]."""
    logits = model(rows[:, :-1], POSITIONS[None].expand(len(rows), LENGTH), None, runtime_gather_output=True)
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def heldout_loss(model: torch.nn.Module, windows: Tensor) -> float:
    """Mean loss of the held-out windows."""
    with torch.no_grad():
        return float(loss_of(model.eval(), windows[:HELDOUT]))


def coordinates(windows: Tensor, hidden: int, width: float | None, output: float) -> dict[str, float]:
    """Root mean squares after ten steps."""
    model = train(windows, hidden, width, output, 0.002, 10)
    found: dict[str, float] = {}

    def watch(name: str) -> None:
        def hook(_module: torch.nn.Module, _inputs: object, result: Tensor | tuple[Tensor, ...]) -> None:
            states = result if isinstance(result, Tensor) else result[0]
            found[name] = float(states.square().mean().sqrt())

        dict(model.named_modules())[name].register_forward_hook(hook)

    for name in ("embedding", *(f"decoder.layers.{number}" for number in range(LAYERS)), "output_layer"):
        watch(name)
    heldout_loss(model, windows)
    return found


def read_windows(folder: Path) -> Tensor:
    """Windows [windows, length + 1] of a tokenizer trained on the texts, in a fixed random order."""
    texts = list(_texts(folder))
    random = np.random.default_rng(0)
    chosen = [texts[index][:CHARS] for index in random.permutation(len(texts))[:TEXTS]]
    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([text[:2000] for text in chosen]),
        model_writer=out,
        vocab_size=VOCABULARY,
        model_type="bpe",
        byte_fallback=True,
        num_threads=1,
        minloglevel=2,
    )
    processor = SentencePieceProcessor(model_proto=out.getvalue())
    ids: NDArray[np.int64] = np.concatenate([np.array([*processor.encode(text), 2]) for text in chosen])
    count = len(ids) // (LENGTH + 1)
    rows = ids[: count * (LENGTH + 1)].reshape(count, LENGTH + 1)
    return torch.from_numpy(rows[random.permutation(count)])


def _texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.parquet")):
        yield from pq.read_table(path, columns=["text"])["text"].to_pylist()
    for path in sorted([*folder.rglob("*.jsonl"), *folder.rglob("*.jsonl.zst")]):
        data = path.read_bytes()
        text = zstandard.ZstdDecompressor().stream_reader(data).read() if path.suffix == ".zst" else data
        yield from (json.loads(line)["text"] for line in text.splitlines())


if __name__ == "__main__":
    main()
