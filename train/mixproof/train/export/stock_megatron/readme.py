"""The README of an export: how to run it, and what will differ from the exact plan."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.mixtures.spec import Spec

from .blend import StockBlend, stock_samples
from .file_names import ARGS, args_file, data_files

COUNTED_SAMPLES = 20_000_000
"""Stock blends are counted over at most this many first samples of a phase."""


def megatron_readme(
    spec: Spec,
    manifest: Manifest,
    mixture: str,
    proxy: str,
    budget: RunBudget,
    blends: Sequence[StockBlend],
    *,
    is_draw: bool,
) -> str:
    """The README of a mixture on a proxy; `is_draw`: the datasets are what the runs read."""
    tables = "\n".join(
        _table(index, phase, blend) for index, (phase, blend) in enumerate(zip(budget.phases, blends, strict=True))
    )
    return f"""\
# {spec.name}: mixture {mixture} on proxy {proxy}, for stock Megatron-LM

Build {manifest.build}.

    python pretrain_gpt.py $(cat {ARGS}) --save CHECKPOINTS ...

`{ARGS}` uses the per-split file. To train the same blend without validation, replace that flag by
`--data-args-path {data_files(0, len(blends))[0]} --split 100,0,0`. Megatron-LM's cache of index files does not check
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
        f"- phase {n + 1}: `{args_file(n)}`, to iteration {(phase.first_sample + phase.samples) // batch}"
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
