"""Export of a run for Megatron-LM: a distributed checkpoint with the file and tensor names that its loader expects.

    latest_checkpointed_iteration.txt
    iter_<steps, 7 digits>/   common.pt, metadata.json, .metadata, __0_0.distcp
    args.txt                  shape flags, for use without --use-checkpoint-args
    tokenizer.model           or tokenizer.json
    reward_head.json          of a reward model: its outputs, the name of the head's weight, what it reads

The checkpoint holds weights only: load it with `--load DIR --no-load-optim --no-load-rng`, or with `--finetune` to
restart the iteration count. Megatron-LM has no reward head: it loads the model and ignores the tensor
`reward_head.weight`, [outputs, hidden size]. The tensor names fit Megatron's local layers and its Transformer Engine
layers. `common.pt` holds `args` (shape, consumed samples), `checkpoint_version` and `iteration`, in types that Megatron
Core accepts. Every export is read back, with and without a model, and compared bit for bit. The load in Megatron-LM
itself, which needs CUDA, is not tested.
"""

from __future__ import annotations

import json
import shutil
import warnings
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing

from mixproof.ledger.errors import AccountError
from mixproof.train.checkpoint.checkpoint import SaveStrategy
from mixproof.train.checkpoint.weights import FinishedRun, load_model, load_weights, new_model, open_finished_run
from mixproof.train.distributed import process_group
from mixproof.train.export.stock_megatron.file_names import ARGS
from mixproof.train.export.stock_megatron.flags import shape_flags
from mixproof.train.model.model import INIT_STD, NORM_EPSILON
from mixproof.train.model.reward_head import REWARD_HEAD
from mixproof.train.stage_record import RewardRecord

from .classifier import reward_of
from .output_folder import output_folder

HEAD = "reward_head.json"
TRACKER = "latest_checkpointed_iteration.txt"
CHECKPOINT_VERSION = 3.0
"""Megatron-LM's layout version; version 3 groups queries, keys and values by query group."""


@dataclass(frozen=True)
class MegatronExport:
    """The folder and its content."""

    folder: Path
    iteration: int
    weights: int
    """Number of parameters that were read back and compared."""


def export_megatron(run_path: str | Path, folder: Path) -> MegatronExport:
    """Write a finished run's weights as a checkpoint that Megatron-LM loads.

    Raises:
        RequestError: when the run is not done, or the folder is not empty.
        DamagedFileError: when the run's checkpoint does not match its record.
        AccountError: when the weights read back differ.
    """
    run = open_finished_run(run_path)
    record, manifest = run.record, run.manifest()
    with output_folder(folder) as scratch, process_group("cpu") as ranks:
        model = load_model(run, ranks.device)
        target = scratch / f"iter_{record.steps:07d}"
        target.mkdir()
        content: dict[str, Any] = {
            "args": megatron_arguments(run),
            "checkpoint_version": CHECKPOINT_VERSION,
            "iteration": record.steps,
            "model": model.sharded_state_dict(),
        }
        dist_checkpointing.save(content, str(target), SaveStrategy())
        (scratch / TRACKER).write_text(str(record.steps))
        flags = shape_flags(run.architecture, record.longest_sequence, record.last_rope_base)
        (scratch / ARGS).write_text("\n".join(flags) + "\n")
        tokenizer = run.store.path(manifest.tokenizer.path)
        shutil.copyfile(tokenizer, scratch / f"tokenizer{tokenizer.suffix}")
        if (reward := reward_of(record)) is not None:
            (scratch / HEAD).write_text(json.dumps(head_facts(reward), indent=1) + "\n")
        _check(run, model, target)
    return MegatronExport(folder, record.steps, weight_count(run))


def weight_count(run: FinishedRun) -> int:
    """Count the weights of a run's model, with the head of a reward model."""
    reward = reward_of(run.record)
    return run.record.parameters.total + (0 if reward is None else reward.outputs * run.architecture.hidden)


def head_facts(reward: RewardRecord) -> dict[str, object]:
    """Return what `reward_head.json` says."""
    return {
        "weight": f"{REWARD_HEAD}.weight",
        "outputs": list(reward.attributes or ("reward",)),
        "input": "hidden state of the last token of [EOD, prompt, answer], after the final norm",
    }


def megatron_arguments(run: FinishedRun) -> Namespace:
    """The arguments that `--use-checkpoint-args` reads from a checkpoint."""
    record, shape = run.record, run.architecture
    return Namespace(
        num_layers=shape.layers,
        hidden_size=shape.hidden,
        ffn_hidden_size=shape.ffn,
        num_attention_heads=shape.heads,
        group_query_attention=True,
        num_query_groups=shape.kv_heads,
        kv_channels=shape.head_dim,
        seq_length=record.longest_sequence,
        max_position_embeddings=record.longest_sequence,
        position_embedding_type="rope",
        rotary_percent=1.0,
        rotary_base=record.last_rope_base,
        normalization="RMSNorm",
        norm_epsilon=NORM_EPSILON,
        swiglu=True,
        add_bias_linear=False,
        add_qkv_bias=False,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        init_method_std=INIT_STD,
        untie_embeddings_and_output_weights=False,
        padded_vocab_size=record.tokenizer.vocab_size,
        make_vocab_size_divisible_by=1,
        tensor_model_parallel_size=1,
        pipeline_model_parallel_size=1,
        consumed_train_samples=record.consumed_samples,
        consumed_valid_samples=0,
        prior_tokens=record.prior_tokens,
        iteration=record.steps,
        ckpt_format="torch_dist",
    )


def _check(run: FinishedRun, model: torch.nn.Module, path: Path) -> None:
    """Read the checkpoint without a model and into a new model; compare bit for bit."""
    with warnings.catch_warnings():
        # Megatron Core calls deprecated torch functions
        warnings.filterwarnings("ignore", r"`load_state_dict` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"Please use DTensor instead", FutureWarning)
        plain = dist_checkpointing.load_plain_tensors(str(path))
    numbers = sum(tensor.numel() for tensor in plain.values() if torch.is_tensor(tensor))
    found = sorted(file.name for file in path.iterdir())
    again = new_model(run, torch.device("cpu"))
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.fill_(float("nan"))
    load_weights(again, path)
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    if numbers != weight_count(run) or not all(torch.equal(one, other) for one, other in pairs):
        expected = f"{weight_count(run)} weights, read back bit for bit"
        raise AccountError("export", expected, f"{numbers}, in {found}", stage="export", unit=run.record.key)
