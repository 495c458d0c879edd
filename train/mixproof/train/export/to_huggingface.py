"""Export of a run to Hugging Face format: model and tokenizer, both checked against the run.

Every export is loaded with transformers and compared with the Megatron model in float32 on held-out text: one window,
after an EOD, from each of up to four sources. If a logit differs by more than 1e-5, the export fails and its folder is
removed. The difference measured on `nano` runs is 0.

The tokenizer is compared with the reference on those sources' held-out texts and on the hard texts. If ids differ, the
export reports it in `TOKENIZER_DIFFERS.md` and in its return value. The weights are still correct then, but ids must
come from another tokenizer; for a SentencePiece model, from `tokenizer.model`.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.tokenize.tokenizer.hard_texts import hard_texts
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.train.checkpoint.huggingface import FACTS, WEIGHTS, to_huggingface
from mixproof.train.checkpoint.huggingface_config import llama_config
from mixproof.train.checkpoint.initial_files import CONFIG
from mixproof.train.checkpoint.weights import FinishedRun, load_model, open_finished_run, weights_of
from mixproof.train.distributed import process_group

from .chat_template import (
    TemplateCheck,
    chat_templates_of,
    check_chat_templates,
    write_chat_templates,
    writes_control_tokens,
)
from .classifier import classifier_config, classifier_weights, compare_rewards, reward_of
from .difference import check_difference
from .huggingface_tokenizer import TokenizerCheck, differences, write_tokenizer
from .output_folder import output_folder

CHECKED_SOURCES = 4
CHECKED_TOKENS = 100_000
"""Tokens of each source's held-out documents on which tokenizers are compared, at most."""
TOKENIZER_DIFFERS = "TOKENIZER_DIFFERS.md"
REMEDY = {
    "sentencepiece": "Use `tokenizer.model` with the sentencepiece package where exact ids matter.",
    "huggingface": "Where exact ids matter, remove special tokens from texts: here they are encoded as control tokens.",
    "tiktoken": "Use the rank file with tiktoken and `encode_ordinary` where exact ids matter.",
}


@dataclass(frozen=True)
class HuggingFaceExport:
    """The folder, and the results of the checks."""

    folder: Path
    logits_checked: int
    """Positions whose logits were compared, each over the whole vocabulary."""
    largest_difference: float
    """Largest difference of a logit between the Megatron model and the transformers model."""
    tokenizer: TokenizerCheck
    template: TemplateCheck | None = None
    """Of the chat template; None for a run that read no conversations."""


def export_huggingface(run_path: str | Path, folder: Path) -> HuggingFaceExport:
    """Write a finished run as a LlamaForCausalLM with its tokenizer; a reward model as LlamaForSequenceClassification.

    Args:
        run_path: the run's folder or record.
        folder: output folder; must be empty or not exist.

    Raises:
        RequestError: when the run is not done, the folder is not empty, or transformers is not installed.
        DamagedFileError: when the run's checkpoint does not match its record.
        AccountError: when the logits differ.
    """
    require_transformers()
    run = open_finished_run(run_path)
    with output_folder(folder) as scratch:
        texts = _heldout_ids(run)
        with process_group("cpu") as ranks:
            model = load_model(run, ranks.device)
            _write_model(run, model, scratch)
            windows = [ids[: run.record.sequence_length] for ids in texts.windows]
            compare = _compare if reward_of(run.record) is None else compare_rewards
            largest = compare(model, scratch, windows, run)
        check, template = _write_tokenizer(run, texts.documents, scratch)
        export = HuggingFaceExport(folder, sum(len(window) for window in windows), largest, check, template)
        _write_facts(run, export, scratch)
    return export


def require_transformers() -> None:
    """Check that the packages of the `export` extra are installed.

    Raises:
        RequestError: when transformers or safetensors is missing.
    """
    missing = [name for name in ("transformers", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(f"{', '.join(missing)} not installed; `pip install 'mixproof[export]'` installs it")


@dataclass(frozen=True)
class _Texts:
    windows: list[list[int]]
    """Ids of held-out text, one list per source, starting with an EOD."""
    documents: list[list[int]]
    """Held-out documents, without EOD and BOS."""


def _heldout_ids(run: FinishedRun) -> _Texts:
    """Ids from the held-out sets of some sources; from training data for a source without a held-out set."""
    eod, manifest = run.record.tokenizer.eod_id, run.manifest()
    sources, before = manifest.sources, manifest.tokenizer.around - 1
    chosen = sorted(sources)[:: max(1, len(sources) // CHECKED_SOURCES)][:CHECKED_SOURCES]
    windows, documents = [], []
    for name in chosen:
        parts = sources[name].heldout.datasets or sources[name].train.datasets
        if not parts:
            continue
        found = _first_documents(run, parts[0])
        documents += [document[before:-1] for document in found]
        windows.append([eod, *(token for document in found for token in document)])
    return _Texts(windows, documents)


def _first_documents(run: FinishedRun, part: DatasetRecord) -> list[list[int]]:
    """The first documents of a part, EODs included, up to `CHECKED_TOKENS`."""
    index = read_index(run.store.path(f"{part.prefix}.idx"))
    ends = np.cumsum(index.lengths, dtype=np.int64)
    ends = ends[: max(1, int(np.searchsorted(ends, CHECKED_TOKENS, side="right")))]
    ids = np.fromfile(run.store.path(f"{part.prefix}.bin"), index.dtype, count=int(ends[-1]))
    return [document.tolist() for document in np.split(ids, ends[:-1])]


def _write_model(run: FinishedRun, model: torch.nn.Module, folder: Path) -> None:
    from safetensors.torch import save_file

    record = run.record
    eod_id = record.tokenizer.eod_id
    config = llama_config(
        run.architecture,
        vocab_size=record.tokenizer.vocab_size,
        sequence_length=record.longest_sequence,
        rope_base=record.last_rope_base,
        eod_id=eod_id,
        bos_id=record.tokenizer.bos_id,
    )
    generation = {"bos_token_id": config["bos_token_id"], "eos_token_id": eod_id, "pad_token_id": eod_id}
    weights = weights_of(model)
    renamed = to_huggingface(weights, run.architecture)
    reward = reward_of(record)
    if reward is not None:
        config |= classifier_config(reward)
        renamed |= classifier_weights(weights)
    _write_json(folder / CONFIG, config)
    _write_json(folder / "generation_config.json", generation)
    save_file(renamed, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors makes it readable by its owner only


def _compare(model: torch.nn.Module, folder: Path, windows: Sequence[Sequence[int]], run: FinishedRun) -> float:
    """The largest difference of a logit between the model and the one that transformers loads from `folder`."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    llama: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    largest = 0.0
    with torch.inference_mode():
        for window in windows:
            ids = torch.tensor([window])
            positions = torch.arange(ids.shape[1])[None]
            ours = model(ids, positions, None, runtime_gather_output=True)
            difference = float((ours - llama(ids).logits).abs().max())
            largest = max(largest, float("inf") if math.isnan(difference) else difference)
    check_difference("logits", largest, compared=bool(windows), run=run.record.key)
    return largest


def _write_tokenizer(
    run: FinishedRun, documents: list[list[int]], folder: Path
) -> tuple[TokenizerCheck, TemplateCheck | None]:
    tokenizer = run.manifest().tokenizer
    path = run.store.path(tokenizer.path)
    expected, found = run.record.tokenizer.sha256, sha256_of_file(path)
    if found != expected:
        raise DamagedFileError(
            str(path), "whole file", f"SHA-256 is {found}, the record says {expected}; restore the file"
        )
    templates = chat_templates_of(run.record, bos=tokenizer.bos_id is not None)
    control_tokens = templates is not None and writes_control_tokens(templates, path)
    write_tokenizer(path, tokenizer.eod_id, folder, tokenizer.bos_id, control_tokens=control_tokens)
    reference = load_reference(str(path))
    texts = [*reference.decode(documents), *hard_texts(reference.special_pieces, reference.added_pieces)]
    check = differences(folder, reference, texts)
    if not check.exact:
        (folder / TOKENIZER_DIFFERS).write_text(
            f"# The fast tokenizer in this folder is not exact\n\n{check.different:,} of {check.texts:,} texts get "
            f"different ids than in training.\n{REMEDY[tokenizer.kind]} The first of these texts starts with:\n\n"
            f"    {check.example!r}\n",
            encoding="utf-8",
        )
    if templates is None:
        return check, None
    write_chat_templates(templates, folder)
    return check, check_chat_templates(templates, folder, path, tokenizer.bos_id)


def _write_facts(run: FinishedRun, export: HuggingFaceExport, folder: Path) -> None:
    record = run.record
    facts = {
        "run": record.key,
        "record_sha256": record.sha256,
        "build": record.build,
        "mixture": record.mixture,
        "proxy": record.proxy,
        "seed": record.seed,
        "consumed_tokens": record.consumed_tokens,
        "prior_tokens": record.prior_tokens,
        "tokenizer_sha256": record.tokenizer.sha256,
        "parameters": record.parameters.total,
        "masks": record.masks.model_dump(),
        "logits_checked": export.logits_checked,
        "largest_difference": export.largest_difference,
        "tokenizer": asdict(export.tokenizer),
        **({} if export.template is None else {"chat_template": asdict(export.template)}),
        "files": {path.name: sha256_of_file(path) for path in sorted(folder.iterdir()) if path.is_file()},
    }
    _write_json(folder / FACTS, facts)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
