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
from pathlib import Path

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.spec import Spec
from mixproof.train.export.huggingface_tokenizer import write_tokenizer
from mixproof.train.export.output_folder import output_folder
from mixproof.train.request import Draw

from .blend import stock_blend, validation_data
from .file_names import TOKENIZER_FOLDER, args_file, data_files, without_white_space
from .flags import megatron_flags
from .readme import megatron_readme


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
    blends = [stock_blend(manifest, store, phase, draws) for phase in budget.phases]
    with output_folder(folder) as scratch:
        for index, blend in enumerate(blends):
            data, per_split, nemotron = data_files(index, len(blends))
            (scratch / data).write_text(" ".join(blend.words) + "\n")
            valid = validation_data(manifest, store)
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
            flags.append(f"--data-cache-path {without_white_space(str(cache))}")
            (scratch / args_file(index)).write_text("\n".join(flags) + "\n")
        readme = megatron_readme(spec, manifest, mixture, proxy, budget, blends, is_draw=draws is not None)
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


def _pairs(words: Sequence[str]) -> list[list[str]]:
    """Words as `[[weight, prefix], ...]`: the `blend.json` of Nemotron's data_prep.

    Source: docs.nvidia.com/nemotron/latest/nemotron/data-prep.html, "Per-Split Output".
    """
    return [list(pair) for pair in zip(words[::2], words[1::2], strict=True)]
