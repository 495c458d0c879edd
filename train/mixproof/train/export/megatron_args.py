"""A mixture for stock Megatron-LM: data files, flags, and how its run will differ from the exact plan.

    data-args.txt               for --data-args-path: weight and prefix of every part of every source
    per-split-data-args.json    for --per-split-data-args-path: the same, plus the held-out parts for validation
    blend.json                  the same in the format of Nemotron's data_prep: pairs by split
    args.txt                    all flags: $(cat args.txt); args-phase-2.txt and so on for later phases
    tokenizer/                  only for a tiktoken encoding: the same as a Hugging Face tokenizer
    README.md                   how to use them, and what differs

A source's weight is its number of samples in the plan, divided among its parts in proportion to their tokens. Stock
Megatron-LM cannot change its blend within a run, so a mixture with phases gets one set of files per phase. With
`--phase-transition-iterations` (Megatron-LM's main branch, commit d98e8a6 of 2026-08-22, `training.py`) it saves and
exits at the end of each phase, and a phase starts at the first sample of its own blend.

Megatron-LM's cache of index files is keyed by path, not by content, so its folder is named by the checksums of what the
blend reads.

The samples that stock Megatron-LM will deliver are computed exactly, by its own blending function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.manifest import DatasetRecord, Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.mixtures.blocks.train import Architecture, Train
from mixproof.mixtures.spec import Spec
from mixproof.train.data.megatron_helpers import megatron_helpers
from mixproof.train.proxies import architecture_of, rates_of
from mixproof.train.request import Draw

from .huggingface_tokenizer import write_tokenizer
from .mup_flags import mup_flags
from .output_folder import output_folder

COUNTED_SAMPLES = 20_000_000
"""Stock blends are counted over at most this many first samples of a phase."""
INIT_STD, NORM_EPSILON, ADAM_EPSILON = "0.02", "1e-5", "1e-8"
ARGS = "args.txt"
TOKENIZER_FOLDER = "tokenizer"


@dataclass(frozen=True)
class StockBlend:
    """The datasets of a phase in stock Megatron-LM's form."""

    prefixes: tuple[str, ...]
    weights: tuple[Fraction, ...]
    """They sum to the samples of the phase."""
    sources: tuple[str, ...]
    """The source of each dataset."""
    content: str = ""
    """SHA-256 of the checksums of the datasets."""

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
    spec: Spec,
    manifest: Manifest,
    store: Store,
    mixture: str,
    proxy: str,
    budget: RunBudget,
    folder: Path,
    draws: Mapping[str, Draw] | None = None,
) -> list[str]:
    """Write the files for one mixture on one proxy; return their names.

    Args:
        spec: a checked spec.
        manifest: of its build, which is in `store`.
        store: where the datasets are; the files contain their absolute paths.
        mixture: name of the mixture.
        proxy: name of the proxy, for shape, recipe and budget.
        budget: the run's budget, from `plan.plan_budgets`.
        folder: output folder; must be empty or not exist.
        draws: by stream, to train on what the runs of the proxy read; None: on all training documents.

    Raises:
        RequestError: when the folder is not empty, a path contains white space, at which Megatron-LM splits, or a phase
            cannot be expressed.
    """
    _check_phases(spec, mixture, budget, draws)
    blends = [_blend(manifest, store, phase, draws) for phase in budget.phases]
    with output_folder(folder) as scratch:
        for index, blend in enumerate(blends):
            data, per_split, nemotron = _data_files(index, len(blends))
            (scratch / data).write_text(" ".join(blend.words) + "\n")
            valid = _validation(manifest, store)
            splits = {"train": blend.words, "valid": valid or None, "test": None}
            (scratch / per_split).write_text(json.dumps(splits, indent=1) + "\n")
            by_split = {name: _pairs(words or []) for name, words in splits.items()}
            (scratch / nemotron).write_text(json.dumps(by_split, indent=1) + "\n")
        if manifest.tokenizer.kind == "tiktoken":
            (scratch / TOKENIZER_FOLDER).mkdir()
            tokenizer = store.path(manifest.tokenizer.path)
            ends = (manifest.tokenizer.eod_id, scratch / TOKENIZER_FOLDER, manifest.tokenizer.bos_id)
            write_tokenizer(tokenizer, *ends)
        for index, blend in enumerate(blends):
            flags = megatron_flags(spec, manifest, store, proxy, budget, folder, index)
            cache = folder.absolute() / "cache" / blend.content[:16]
            flags.append(f"--data-cache-path {_without_white_space(str(cache))}")
            (scratch / _args_file(index)).write_text("\n".join(flags) + "\n")
        readme = _readme(spec, manifest, mixture, proxy, budget, blends, is_draw=draws is not None)
        (scratch / "README.md").write_text(readme)
        return sorted(path.name for path in scratch.iterdir())


def _check_phases(spec: Spec, mixture: str, budget: RunBudget, draws: Mapping[str, Draw] | None) -> None:
    """Refuse phases that stock Megatron-LM cannot train."""
    for number, phase in enumerate(budget.phases):
        at = ("mixtures", mixture, "phases", number)
        if phase.sequence_length is not None:
            raise RequestError(
                f"{spec.where(*at, 'sequence_length')}: stock Megatron-LM cannot change the length within a run: the "
                "batch would change too, and with `--phase-transition-iterations` it refuses a checkpoint of another "
                "`--global-batch-size`; export a run of its own that starts from the last phase's checkpoint"
            )
        if phase.min_tokens and draws is None:
            raise RequestError(
                f"{spec.where(*at, 'min_tokens')}: Megatron-LM cannot choose documents by length; add `--draw` to "
                "export the documents that the runs read as datasets of their own"
            )


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
    _, per_split, _ = _data_files(phase, len(budget.phases))
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
        f"--tokenizer-model {_without_white_space(str(tokenizer.absolute()))}",
        f"--per-split-data-args-path {_without_white_space(str(folder.absolute() / per_split))}",
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


def stock_samples(blend: StockBlend, samples: int) -> dict[str, int]:
    """Samples of each source in the first `samples` samples of Megatron-LM's own blend.

    Megatron-LM's dataset is slightly longer, because it rounds each source's samples up, and a run reads its first
    `samples`. The greedy order of a longer dataset starts with the same samples.
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


def _blend(manifest: Manifest, store: Store, phase: PhaseBudget, draws: Mapping[str, Draw] | None) -> StockBlend:
    prefixes, weights, sources, checksums = [], [], [], []
    for source, samples in phase.samples_of.items():
        parts: Sequence[DatasetRecord] = [part for part in manifest.sources[source].train.datasets if part.tokens]
        if draws is not None:
            parts = [draws[phase.stream_of(source)].as_part]
        tokens = sum(part.tokens for part in parts)
        for part in parts:
            prefixes.append(_prefix(store, part))
            weights.append(Fraction(samples * part.tokens, tokens))
            sources.append(source)
            checksums.append([part.bin_sha256, part.idx_sha256])
    return StockBlend(tuple(prefixes), tuple(weights), tuple(sources), sha256_of(checksums))


def _validation(manifest: Manifest, store: Store) -> list[str]:
    """Weights and prefixes of all sources' held-out parts, weighted by tokens."""
    parts = [part for source in manifest.sources.values() for part in source.heldout.datasets if part.tokens]
    return [word for part in parts for word in (str(part.tokens), _prefix(store, part))]


def _prefix(store: Store, part: DatasetRecord) -> str:
    return _without_white_space(str(store.folder(part.prefix).absolute()))


def _without_white_space(path: str) -> str:
    if len(path.split()) != 1:
        raise RequestError(
            f"{path}: Megatron-LM splits its data arguments at white space; use a path without white space"
        )
    return path


def _args_file(phase: int) -> str:
    return ARGS if phase == 0 else f"args-phase-{phase + 1}.txt"


def _data_files(phase: int, phases: int) -> tuple[str, str, str]:
    end = f"-phase-{phase + 1}" if phases > 1 else ""
    return f"data-args{end}.txt", f"per-split-data-args{end}.json", f"blend{end}.json"


def _readme(
    spec: Spec,
    manifest: Manifest,
    mixture: str,
    proxy: str,
    budget: RunBudget,
    blends: Sequence[StockBlend],
    *,
    is_draw: bool,
) -> str:
    tables = "\n".join(
        _table(index, phase, blend) for index, (phase, blend) in enumerate(zip(budget.phases, blends, strict=True))
    )
    return f"""\
# {spec.name}: mixture {mixture} on proxy {proxy}, for stock Megatron-LM

Build {manifest.build}.

    python pretrain_gpt.py $(cat {ARGS}) --save CHECKPOINTS ...

`{ARGS}` uses the per-split file. To train the same blend without validation, replace that flag by
`--data-args-path {_data_files(0, len(blends))[0]} --split 100,0,0`. Megatron-LM's cache of index files does not check
file contents, so `--data-cache-path` is named by the checksums of the datasets; do not share it between exports. The
end-of-document id is {manifest.tokenizer.eod_id}; Megatron-LM takes it from the tokenizer's `eos`.
{_phases_note(budget)}
## How it differs from the exact plan

- **Counts.** Megatron-LM picks samples greedily by weight, so a run can end before a small source is read;
  mixproof delivers exactly the planned number.
{tables}
- **Order and repetition.** Megatron-LM shuffles all epochs that a run needs as one dataset. Its order therefore
  depends on the budget, and a repeated text can come up before all others have been read once. mixproof reads a
  source epoch by epoch, in an order that depends on the seed alone.
- **Which text.** {_which_text(is_draw=is_draw)}
{_weights_note(spec)}{_fim_note(spec, budget)}\
- **Parts.** A source with several parts becomes several datasets, each cut into windows and
  shuffled separately.
- **Validation** in Megatron-LM is the loss on windows of the held-out parts, not bits per byte of whole texts.
"""


def _weights_note(spec: Spec) -> str:
    """A line about what stock Megatron-LM cannot do with the spec's weights in the loss; nothing without weights."""
    weights = ", ".join(f"{source} {float(weight):g}" for source, weight in spec.train.loss_weights.items())
    return f"- **Loss.** Megatron-LM has no weights by source; the spec's ({weights}) are lost.\n" if weights else ""


def _fim_note(spec: Spec, budget: RunBudget) -> str:
    """A line about sources with fill-in-the-middle, whose documents are written as they are; nothing without any."""
    names = ", ".join(name for name in budget.samples_of if spec.fim_of(name) is not None)
    if not names:
        return ""
    return f"- **Fill-in-the-middle.** mixproof's runs rearrange documents of {names}; here they are as they were.\n"


def _which_text(*, is_draw: bool) -> str:
    if is_draw:
        return "The datasets are the draws of the proxy's runs, so Megatron-LM reads the documents that they read."
    return "Megatron-LM samples from whole datasets; mixproof's runs read a draw, the documents of smallest hash."


def _table(index: int, phase: PhaseBudget, blend: StockBlend) -> str:
    counted = min(phase.samples, COUNTED_SAMPLES)
    stock = stock_samples(blend, counted)
    of = "" if counted == phase.samples else f" (of the first {counted:,})"
    lines = [
        f"\n  Phase {index + 1}, {phase.samples:,} samples:\n",
        f"  | source | planned | stock{of} |",
        "  |---|---|---|",
    ]
    return "\n".join([*lines, *(f"  | {name} | {phase.samples_of[name]:,} | {stock[name]:,} |" for name in stock), ""])


def _phases_note(budget: RunBudget) -> str:
    if len(budget.phases) == 1:
        return ""
    batch = budget.global_batch_size
    steps = "\n".join(
        f"- phase {n + 1}: `{_args_file(n)}`, to iteration {(phase.first_sample + phase.samples) // batch}"
        for n, phase in enumerate(budget.phases)
    )
    return f"""
Phases: run Megatron-LM once per phase, in order, each time with the phase's flags, and from the second on with
`--load` of the previous phase's checkpoint. `--phase-transition-iterations` makes it save and exit at the end of each
phase:

{steps}

An older Megatron-LM does not have this flag. Replace it by `--exit-interval`, one phase at a time; at each restart it
then skips as many samples of the new blend as it has consumed so far, so a phase does not start at its blend's first
sample.
"""
