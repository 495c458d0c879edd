"""Training speed of supervised fine-tuning against pretraining: the same proxy, window and optimizer, interleaved.

    python benchmarks/fine_tuning.py [--proxy 62m] [--sequence-length 2048] [--rounds 3] [--document-tokens 160]

A step is one window: loss, gradient, clipping, fused AdamW. The window of pretraining is text without borders, as by
default; that of fine-tuning holds conversations of `--document-tokens` tokens, packed to 98%, and 55% of their tokens
are supervised, as in worded problems with their solutions. The order is reversed in every other round. On a CPU tokens
per CPU-second are compared, so that a busy machine is fair to both; on CUDA tokens per second of wall time.
`window_ratio` is by windows, `ratio` by tokens that are text.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from mixproof.train.distributed import process_group
from mixproof.train.model.micro_batch import Batch, StepPlan, micro_batch_loss
from mixproof.train.model.model import build_model
from mixproof.train.model.optimizer import build_optimizer
from mixproof.train.proxies import PROXIES
from mixproof.train.record import MasksRecord

VOCAB_SIZE = 32_000
FILL, SUPERVISED = 0.98, 0.55
PRETRAINING = MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False)
FINE_TUNING = MasksRecord(
    document_mask=True, eod_mask_loss=False, reset_position_ids=True, best_fit=True, supervised=True
)


def window(length: int, document: int, masks: MasksRecord, device: torch.device) -> Batch:
    """Make a window of random ids."""
    ids = torch.randint(3, VOCAB_SIZE, (1, length + 1), generator=torch.Generator().manual_seed(1))
    at = torch.arange(length)
    if masks.supervised is None:
        positions, mask = at, torch.ones(length)
    else:
        positions = at % document
        mask = ((positions >= (1 - SUPERVISED) * document) & (at < FILL * length)).float()
    batch = {
        "tokens": ids[:, :-1],
        "labels": ids[:, 1:],
        "loss_mask": mask[None],
        "position_ids": positions[None],
        "source": torch.zeros(1, dtype=torch.int64),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def stepping(proxy: str, length: int, document: int, masks: MasksRecord, device: torch.device) -> Callable[[], None]:
    """Make the step of a stage."""
    model = build_model(
        PROXIES[proxy], vocab_size=VOCAB_SIZE, sequence_length=length, rope_base=10_000, seed=1, device=device
    ).train()
    optimizer = build_optimizer(model, lr=1e-4, betas=(0.9, 0.95))
    plan = StepPlan(1, 1, length, 1.0, masks, eod_id=2, samples_per_step=1)
    batch, parameters = window(length, document, masks, device), list(model.parameters())

    def step() -> None:
        total, _ = micro_batch_loss(model, batch, plan, in_bfloat16=device.type == "cuda")
        torch.autograd.backward(total / batch["loss_mask"].sum())
        torch.nn.utils.clip_grad_norm_(parameters, plan.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def seconds_of(step: Callable[[], None], device: torch.device) -> float:
    """Return the CPU seconds of a step, or its wall time on CUDA."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    """Print one JSON object."""
    options = argparse.ArgumentParser()
    options.add_argument("--proxy", default="62m")
    options.add_argument("--sequence-length", type=int, default=2048)
    options.add_argument("--document-tokens", type=int, default=160)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    length = given.sequence_length
    with process_group() as ranks:
        stages = {
            name: stepping(given.proxy, length, given.document_tokens, masks, ranks.device)
            for name, masks in (("pretrain", PRETRAINING), ("sft", FINE_TUNING))
        }
        seconds: dict[str, list[float]] = {name: [] for name in stages}
        for number in range(given.rounds + 1):
            for name, step in list(stages.items())[:: 1 if number % 2 else -1]:
                taken = seconds_of(step, ranks.device)
                if number:  # the first round fills caches
                    seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["pretrain"] / medians["sft"]
    report = {
        "proxy": given.proxy,
        "sequence_length": length,
        "seconds": seconds,
        "tokens_per_second": {"pretrain": length / medians["pretrain"], "sft": FILL * length / medians["sft"]},
        "window_ratio": ratio,
        "ratio": FILL * ratio,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
