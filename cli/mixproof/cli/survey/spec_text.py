"""The text of a spec from a proposal: YAML with the reasons beside the numbers."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path

from .proposal import Proposal
from .sources import FoundSource

SHOWN_LANGUAGES = 4
NOT_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})
FILTERED = frozenset({"jsonl", "parquet", "arrow", "warc", "wet"})


def spec_text(proposal: Proposal, name: str, root: Path, base: Path, tokenizer: str | None, schema: str) -> str:
    """Write a spec.

    Args:
        proposal: what it is to say.
        name: of the experiment.
        root: the folder that was surveyed.
        base: the folder of the spec, from which its patterns start.
        tokenizer: path of a tokenizer's file, relative to `base`; None: one is trained.
        schema: the JSON Schema's file, for editors.
    """
    return "\n".join(_lines(proposal, name, _prefix(root, base), tokenizer, schema)) + "\n"


def _lines(proposal: Proposal, name: str, prefix: str, tokenizer: str | None, schema: str) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={schema}"
    yield "# Written by `mixproof init` from a sample of the files: numbers of documents and bytes are estimates."
    yield "# `mixproof plan` shows what it leads to; `mixproof run` builds, trains and compares."
    yield "schema: 1"
    yield f"name: {_quoted(name)}"
    yield ""
    if any(source.format in FILTERED and source.fields.kind is None for source in proposal.sources):
        yield "# To filter a source: `steps: [ftfy, {language: {}}, gopher_quality]`; `mixproof inspect` tries them."
    yield "sources:"
    for source in proposal.sources:
        yield from _source(source, prefix)
    yield ""
    yield "# Keep one copy of each duplicate. `fuzzy: true` finds near-duplicates as well."
    yield "dedup: {exact: true, scope: all}"
    yield "# Per source: 1M tokens or 2% of its text, whichever is less, and at least this many documents."
    yield f"heldout: {{create: {{min_documents: {proposal.min_documents}}}}}"
    yield "# Drops training documents that overlap with held-out texts, or with evaluation sets: `against: [FILES]`."
    yield "decontaminate: {ngram: 13, overlap: 0.5}"
    yield from _tokenizer(proposal, tokenizer)
    yield ""
    yield from _mixtures(proposal)
    yield ""
    yield from _train(proposal)


def _source(source: FoundSource, prefix: str) -> Iterator[str]:
    files = f"{source.files:,} file{'' if source.files == 1 else 's'}"
    documents = "" if source.documents is None else f", about {source.documents:,} documents"
    yield f"  {_quoted(source.name)}:"
    yield f"    # {files}{documents}, {_megabytes(source.text_bytes)} of text{_languages(source)}"
    patterns = [_quoted(prefix + pattern) for pattern in source.patterns]
    if len(patterns) == 1:
        yield f"    files: {patterns[0]}"
    else:
        yield "    files:"
        yield from (f"      - {pattern}" for pattern in patterns)
    if source.declared:
        yield f"    format: {source.format}"
    if source.fields.kind is not None:
        yield f"    format: {source.fields.kind}"
    elif source.fields.text != "text":
        yield f"    text: {_quoted(source.fields.text)}"
    if source.fields.id not in (None, "id"):
        yield f"    id: {_quoted(str(source.fields.id))}"
    if source.fields.other_texts:
        yield f"    # could be the text as well: {', '.join(source.fields.other_texts)}"
    if source.fields.language is not None and len(source.languages) > 1:
        yield f"    # split_by: {source.fields.language}   # makes each language a source"


def _tokenizer(proposal: Proposal, tokenizer: str | None) -> Iterator[str]:
    if tokenizer is not None:
        kind = "huggingface" if tokenizer.endswith(".json") else "sentencepiece"
        yield f"tokenizer: {{{kind}: {_quoted(tokenizer)}}}"
        return
    yield "# Your own instead: `{sentencepiece: FILE}` or `{huggingface: tokenizer.json}`."
    size = f"{_spelled(proposal.tokenizer_bytes)}B"
    yield f"tokenizer: {{train: {{vocab_size: {proposal.vocab_size}, bytes: {size}}}}}"


def _mixtures(proposal: Proposal) -> Iterator[str]:
    names = proposal.trained
    if len(names) < len(proposal.sources):
        yield f"# Sources that stage {proposal.stage} does not train on have no share."
    yield "mixtures:"
    if len(names) == 1:
        yield "  # `compare` ranks mixtures of two sources or more"
        yield f"  whole: {{{_quoted(names[0])}: 100%}}"
        return
    if len(names) == len(proposal.sources):
        yield "  natural: {rule: proportional}   # by tokens"
    yield "  equal:"
    yield "    parts:"
    yield from (f"      {_quoted(name)}: 1" for name in names)


def _train(proposal: Proposal) -> Iterator[str]:
    yield "train:"
    if proposal.stage != "pretrain":
        yield f"  stage: {proposal.stage}"
        yield "  # init_from: KEY   # a finished run to start from, by the first digits of its key"
    elif any(source.fields.kind is not None for source in proposal.sources):
        yield "  # Conversations count as text here. Later stages start from a run, with `init_from: KEY`:"
        yield "  # `stage: sft` for `format: chat`, `dpo` for pairs, `reward` for pairs or for ratings."
    yield f"  sequence_length: {proposal.sequence_length}"
    yield "  schedule: {wsd: {warmup: 5%, decay: 20%, shape: minus_sqrt}}"
    yield "  proxies:"
    yield "    # 3.6M weights at a vocabulary of 32,000: minutes on a CPU. Larger differences need larger proxies."
    yield f"    nano: {{tokens: {_spelled(proposal.run_tokens)}, global_batch_size: 8, lr: 1.0e-2, min_lr: 1.0e-3}}"
    yield "    # 62m: {tokens: 2B, global_batch_size: 512, lr: 3.0e-3, min_lr: 3.0e-4}   # for GPUs"
    yield f"  seeds: {list(proposal.seeds)}   # three tell the spread between seeds"


def _languages(source: FoundSource) -> str:
    shown = ", ".join(f"{name} {share:.0%}" for name, share in source.languages[:SHOWN_LANGUAGES])
    more = ", ..." if len(source.languages) > SHOWN_LANGUAGES else ""
    return f"; in the sample {shown}{more}" if shown else ""


def _prefix(root: Path, base: Path) -> str:
    """What precedes a pattern: the path from the spec's folder, or the whole path where that one leads far up."""
    way = os.path.relpath(root.absolute(), base.absolute())
    if way.startswith("../.."):
        way = str(root.absolute())
    return "" if way == "." else f"{glob.escape(way)}/"


def _quoted(text: str) -> str:
    """A plain YAML word, or a double-quoted one, which spells as JSON does."""
    plain = text.replace("_", "").replace("-", "").isalnum() and text.isascii() and text[0].isalpha()
    return (
        text if plain and text.lower() not in ("yes", "no", "on", "off", "true", "false", "null") else json.dumps(text)
    )


def _spelled(value: int) -> str:
    """A number with the largest decimal unit that leaves no fraction."""
    for unit, size in (("M", 10**6), ("K", 10**3)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
