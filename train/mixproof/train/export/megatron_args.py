"""A mixture for stock Megatron-LM: its data files, its flags, and how its run will differ from the exact plan.

    data-args.txt               for --data-args-path: weight and prefix of every part of every source
    per-split-data-args.json    for --per-split-data-args-path: the same, and the held-out parts for validation
    blend.json                  the same as Nemotron's data_prep writes it: pairs by split
    args.txt                    every flag: $(cat args.txt)
    README.md                   how to use them, and what differs

A source's weight is its samples in the plan, divided among its parts by their tokens. Stock Megatron-LM cannot change
its blend within a run, so a mixture of phases gives one pair of data files a phase; the run is started again at each.

What stock Megatron-LM will deliver is computed by its own blending function, to the sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import DatasetRecord, Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import PhaseBudget, RunBudget
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.train_spec import Architecture
from mixproof.train.data.megatron_helpers import megatron_helpers
from mixproof.train.proxies import architecture_of

from .output_folder import output_folder

COUNTED_SAMPLES = 20_000_000
"""Longest phase whose stock blend is counted to the sample; longer ones are counted over so many first samples."""
INIT_STD, NORM_EPSILON, ADAM_EPSILON = "0.02", "1e-5", "1e-8"
ARGS = "args.txt"


@dataclass(frozen=True)
class Blend:
    """The datasets of a phase as stock Megatron-LM takes them."""

    prefixes: tuple[str, ...]
    weights: tuple[Fraction, ...]
    """Sum to the samples of the phase."""
    sources: tuple[str, ...]
    """The source that each is a part of."""

    @property
    def words(self) -> list[str]:
        """Weight, prefix, weight, prefix ..."""
        pairs = zip(self.weights, self.prefixes, strict=True)
        return [word for weight, prefix in pairs for word in (f"{float(weight):.12g}", prefix)]


def _pairs(words: Sequence[str]) -> list[list[str]]:
    """Words as `[[weight, prefix], ...]`: the `blend.json` of Nemotron's data_prep.

    Source: docs.nvidia.com/nemotron/latest/nemotron/data-prep.html, "Per-Split Output".
    """
    return [list(pair) for pair in zip(words[::2], words[1::2], strict=True)]


def export_megatron_args(
    spec: Spec, manifest: Manifest, store: Store, mixture: str, proxy: str, budget: RunBudget, folder: Path
) -> list[str]:
    """Write the files for one mixture at one proxy; return their names.

    Args:
        spec: a checked spec.
        manifest: of its build, which lies in `store`.
        store: where the datasets are; their absolute paths go into the files.
        mixture: name of the mixture.
        proxy: name of the proxy, for shape, recipe and budget.
        budget: the run's, by `plan.plan_budgets`.
        folder: to write; must not exist, or be empty.

    Raises:
        RequestError: when the folder is taken, or a path holds white space, at which Megatron-LM cuts.
    """
    blends = [_blend(manifest, store, phase) for phase in budget.phases]
    with output_folder(folder) as scratch:
        for number, blend in enumerate(blends):
            data, per_split, nemotron = _data_files(number, len(blends))
            (scratch / data).write_text(" ".join(blend.words) + "\n")
            valid = _validation(manifest, store)
            splits = {"train": blend.words, "valid": valid or None, "test": None}
            (scratch / per_split).write_text(json.dumps(splits, indent=1) + "\n")
            by_split = {name: _pairs(words or []) for name, words in splits.items()}
            (scratch / nemotron).write_text(json.dumps(by_split, indent=1) + "\n")
        flags = megatron_flags(spec, manifest, store, proxy, budget, folder)
        (scratch / ARGS).write_text("\n".join(flags) + "\n")
        (scratch / "README.md").write_text(_readme(spec, manifest, mixture, proxy, budget, blends))
        return sorted(path.name for path in scratch.iterdir())


def shape_flags(architecture: Architecture, sequence_length: int, rope_base: int) -> list[str]:
    """Megatron-LM's flags of a proxy's shape, one a line."""
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
    spec: Spec, manifest: Manifest, store: Store, proxy: str, budget: RunBudget, folder: Path
) -> list[str]:
    """Every flag of a run of stock Megatron-LM on the first phase of a budget, one a line."""
    train, recipe = spec.train, spec.train.proxies[proxy]
    optimizer, batch = train.optimizer, budget.global_batch_size
    _, per_split, _ = _data_files(0, len(budget.phases))
    tokenizer = store.path(manifest.tokenizer.path).absolute()
    kind = "GPTSentencePieceTokenizer" if manifest.tokenizer.kind == "sentencepiece" else "HuggingFaceTokenizer"
    asked = {
        "--eod-mask-loss": train.eod_mask_loss,
        "--reset-position-ids": train.reset_position_ids,
        "--reset-attention-mask": train.document_mask,
    }
    flags = [
        *shape_flags(architecture_of(proxy, recipe), budget.sequence_length, train.rope_base),
        f"--tokenizer-type {kind}",
        f"--tokenizer-model {_whole(str(tokenizer))}",
        f"--per-split-data-args-path {_whole(str(folder.absolute() / per_split))}",
        "--dataloader-type single",
        f"--train-samples {budget.phases[0].samples}",
        f"--global-batch-size {batch}",
        f"--micro-batch-size {recipe.micro_batch_size or 1}",
        "--optimizer adam",
        f"--lr {float(recipe.lr):.12g}",
        f"--min-lr {float(recipe.min_lr):.12g}",
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
        f"--seed {train.seeds[0]}",
    ]
    return flags + [flag for flag, is_on in asked.items() if is_on]


def stock_samples(blend: Blend, samples: int) -> dict[str, int]:
    """Samples of each source that Megatron-LM's own blending deals in a run of so many, by source.

    Its dataset is a little longer (each source's samples rounded up), and a run reads its first `samples`; the greedy
    order of a longer one starts with the same.
    """
    total = sum(blend.weights)
    weights = np.array([float(weight / total) for weight in blend.weights], np.float64)
    dataset = np.zeros(samples, np.int16)
    sample = np.zeros(samples, np.int64)
    megatron_helpers().build_blending_indices(dataset, sample, weights, len(weights), samples, False)
    found = dict.fromkeys(blend.sources, 0)
    for source, count in zip(blend.sources, np.bincount(dataset, minlength=len(weights)).tolist(), strict=True):
        found[source] += count
    return found


def _blend(manifest: Manifest, store: Store, phase: PhaseBudget) -> Blend:
    prefixes, weights, sources = [], [], []
    for source, samples in phase.samples_of.items():
        parts = [part for part in manifest.sources[source].train.datasets if part.tokens]
        tokens = sum(part.tokens for part in parts)
        for part in parts:
            prefixes.append(_prefix(store, part))
            weights.append(Fraction(samples * part.tokens, tokens))
            sources.append(source)
    return Blend(tuple(prefixes), tuple(weights), tuple(sources))


def _validation(manifest: Manifest, store: Store) -> list[str]:
    """The held-out parts of all sources, weighted by their tokens."""
    parts = [part for source in manifest.sources.values() for part in source.heldout.datasets if part.tokens]
    return [word for part in parts for word in (str(part.tokens), _prefix(store, part))]


def _prefix(store: Store, part: DatasetRecord) -> str:
    return _whole(str(store.folder(part.prefix).absolute()))


def _whole(path: str) -> str:
    if len(path.split()) != 1:
        raise RequestError(f"{path}: Megatron-LM cuts its data arguments at white space; put the store elsewhere")
    return path


def _data_files(number: int, phases: int) -> tuple[str, str, str]:
    end = f"-phase-{number + 1}" if phases > 1 else ""
    return f"data-args{end}.txt", f"per-split-data-args{end}.json", f"blend{end}.json"


def _readme(
    spec: Spec, manifest: Manifest, mixture: str, proxy: str, budget: RunBudget, blends: Sequence[Blend]
) -> str:
    tables = "\n".join(
        _table(number, phase, blend) for number, (phase, blend) in enumerate(zip(budget.phases, blends, strict=True))
    )
    return f"""\
# {spec.name}: mixture {mixture} at proxy {proxy}, for stock Megatron-LM

Build {manifest.build}.

    python pretrain_gpt.py $(cat {ARGS}) --save CHECKPOINTS --data-cache-path CACHE ...

`{ARGS}` reads the per-split file. Instead of it, `--data-args-path {_data_files(0, len(blends))[0]} --split 100,0,0`
trains the same blend without validation. Give a new build a new CACHE: Megatron-LM's does not look at contents.
The end of a document is id {manifest.tokenizer.eod_id}; Megatron-LM takes it from the tokenizer's `eos`.
{_phases_note(budget)}
## How it differs from the exact plan

- **Counts.** Megatron-LM deals samples greedily by weight, and a run may end before a small source had its turn;
  mixproof deals the planned number exactly.
{tables}
- **Order and repetition.** Megatron-LM shuffles all the epochs that a run needs as one dataset, so its order changes
  with the budget, and where a source is repeated a text can come back before all others were seen once. mixproof
  reads a source epoch by epoch, in an order that only the seed decides.
- **Which text.** Megatron-LM samples from whole datasets; mixproof's runs read a draw, the documents of smallest hash.
- **Parts.** A source of several parts is several datasets here, each cut into windows and shuffled alone.
- **Validation** by Megatron-LM is the loss on windows of the held-out parts, not bits per byte of whole texts.
"""


def _table(number: int, phase: PhaseBudget, blend: Blend) -> str:
    counted = min(phase.samples, COUNTED_SAMPLES)
    stock = stock_samples(blend, counted)
    of = "" if counted == phase.samples else f" (of the first {counted:,})"
    lines = [
        f"\n  Phase {number + 1}, {phase.samples:,} samples:\n",
        f"  | source | planned | stock{of} |",
        "  |---|---|---|",
    ]
    return "\n".join([*lines, *(f"  | {name} | {phase.samples_of[name]:,} | {stock[name]:,} |" for name in stock), ""])


def _phases_note(budget: RunBudget) -> str:
    if len(budget.phases) == 1:
        return ""
    ends: Mapping[int, int] = {n + 1: phase.first_sample + phase.samples for n, phase in enumerate(budget.phases)}
    steps = "\n".join(
        f"- phase {n}: `{_data_files(n - 1, len(budget.phases))[1]}`, `--train-samples {end}`"
        for n, end in ends.items()
    )
    return f"""
Phases: run once for each, in order, each with its own data file and `--load` of the one before:

{steps}

Megatron-LM then skips as many samples of the new blend as were consumed, so the phases' samples are not consecutive.
"""
