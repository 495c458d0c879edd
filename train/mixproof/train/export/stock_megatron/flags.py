"""The flags of a stock Megatron-LM run: shape, data, optimizer, masks."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.blocks.train import Architecture, Train
from mixproof.mixtures.spec import Spec
from mixproof.train.proxies import architecture_of, rates_of

from .file_names import TOKENIZER_FOLDER, data_files, without_white_space
from .mup_flags import mup_flags

INIT_STD, NORM_EPSILON, ADAM_EPSILON = "0.02", "1e-5", "1e-8"


def shape_flags(architecture: Architecture, sequence_length: int, rope_base: int) -> list[str]:
    """Megatron-LM's flags for a proxy's shape, one per line."""
    return [
        f"--num-layers {architecture.layers}",
        f"--hidden-size {architecture.hidden}",
        f"--ffn-hidden-size {architecture.ffn}",
        f"--num-attention-heads {architecture.heads}",
        "--group-query-attention",
        f"--num-query-groups {architecture.kv_heads}",
        f"--kv-channels {architecture.head_dim}",
        f"--seq-length {sequence_length}",
        f"--max-position-embeddings {sequence_length}",
        "--position-embedding-type rope",
        "--rotary-percent 1.0",
        f"--rotary-base {rope_base}",
        "--normalization RMSNorm",
        f"--norm-epsilon {NORM_EPSILON}",
        "--swiglu",
        "--disable-bias-linear",
        "--attention-dropout 0.0",
        "--hidden-dropout 0.0",
        f"--init-method-std {INIT_STD}",
        "--make-vocab-size-divisible-by 1",
    ]


def megatron_flags(
    spec: Spec, manifest: Manifest, store: Store, proxy: str, budget: RunBudget, folder: Path, phase: int = 0
) -> list[str]:
    """All flags of a stock Megatron-LM run on one phase of a budget, without its cache, one per line."""
    train, recipe = spec.train, spec.train.proxies[proxy]
    if train.windows.pack != "concatenate":
        where = spec.where("train", "windows", "pack")
        raise RequestError(f"{where}: stock Megatron-LM cannot pack documents; export a spec with `concatenate`")
    _, per_split, _ = data_files(phase, len(budget.phases))
    batch = budget.global_batch_size
    ends = [str((part.first_sample + part.samples) // batch) for part in budget.phases[:-1]]
    is_tiktoken = manifest.tokenizer.kind == "tiktoken"
    tokenizer = folder / TOKENIZER_FOLDER if is_tiktoken else store.path(manifest.tokenizer.path)
    kind = "GPTSentencePieceTokenizer" if manifest.tokenizer.kind == "sentencepiece" else "HuggingFaceTokenizer"
    masks = {
        "--eod-mask-loss": train.eod_mask_loss,
        "--reset-position-ids": train.reset_position_ids,
        "--reset-attention-mask": train.document_mask,
    }
    return [
        *shape_flags(
            architecture_of(proxy, recipe),
            budget.sequence_length,
            budget.phases[phase].rope_base or train.rope_base,
        ),
        f"--tokenizer-type {kind}",
        f"--tokenizer-model {without_white_space(str(tokenizer.absolute()))}",
        f"--per-split-data-args-path {without_white_space(str(folder.absolute() / per_split))}",
        "--dataloader-type single",
        f"--train-samples {budget.samples}",
        *([f"--phase-transition-iterations {','.join(ends)}"] if ends else []),
        f"--global-batch-size {budget.global_batch_size}",
        f"--micro-batch-size {recipe.micro_batch_size or 1}",
        *_optimizer_flags(train, rates_of(proxy, recipe), budget),
        *mup_flags(proxy, recipe),
        f"--seed {train.seeds[0]}",
        *(flag for flag, is_on in masks.items() if is_on),
    ]


def _optimizer_flags(train: Train, rates: tuple[Fraction, Fraction], budget: RunBudget) -> list[str]:
    optimizer, batch = train.optimizer, budget.global_batch_size
    return [
        "--optimizer adam",
        f"--lr {float(rates[0]):.12g}",
        f"--min-lr {float(rates[1]):.12g}",
        "--lr-decay-style WSD",
        f"--lr-decay-samples {budget.samples}",
        f"--lr-warmup-samples {budget.warmup_steps * batch}",
        f"--lr-wsd-decay-samples {budget.decay_steps * batch}",
        f"--lr-wsd-decay-style {train.schedule.wsd.shape}",
        f"--weight-decay {float(optimizer.weight_decay):.12g}",
        f"--clip-grad {float(optimizer.clip):.12g}",
        f"--adam-beta1 {float(optimizer.betas[0]):.12g}",
        f"--adam-beta2 {float(optimizer.betas[1]):.12g}",
        f"--adam-eps {ADAM_EPSILON}",
    ]
