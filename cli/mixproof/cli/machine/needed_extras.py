"""The extras that a spec needs, and why: known from the spec and the metadata of the environment, before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.steps.registry import KINDS

from .extras import Extra, install_line

Work = Literal["plan", "inspect", "build", "train", "run", "search"]
"""What a command is about to do with a spec."""
TRAINS = frozenset({"train", "run", "search"})
SCORES = frozenset({"train", "run"})
"""Work that scores runs on external sets and tasks."""
S3 = ("s3://", "s3a://")


def check_extras(spec: Spec, store: str, work: Work, extras: Mapping[str, Extra]) -> None:
    """Refuse a spec that needs packages which are not installed.

    Raises:
        RequestError: with one line that installs everything that is missing.
    """
    missing: dict[str, str] = {}
    for extra, reason in needed_extras(spec, store, work):
        if not extras[extra].installed:
            missing.setdefault(extra, reason)
    if missing:
        reasons = "; ".join(f"{reason} needs {', '.join(extras[extra].missing)}" for extra, reason in missing.items())
        raise RequestError(f"packages are missing here: {reasons}. Install them with: {install_line(*missing)}")


def needed_extras(spec: Spec, store: str, work: Work) -> Iterator[tuple[str, str]]:
    """Yield every extra that the work needs, with what needs it."""
    for name, source in spec.sources.items():
        judged = [label.step for label in spec.labels_of(name).values() if label.step is not None]
        for step in (*source.steps, *judged):
            kind = KINDS.get(step.name)
            if step.name == "datatrove" or (kind is not None and kind.packages):
                yield "documents", f"{spec.where('sources', name, 'steps')}: the step {step.name}"
        yield from _of_labels(spec, name)
        is_warc = source.format == "warc" or any(".warc" in pattern for pattern in source.files)
        if source.extractor == "resiliparse":
            yield "html", f"{spec.where('sources', name, 'extractor')}: resiliparse"
        elif is_warc or source.extractor is not None:
            yield "documents", f"{spec.where('sources', name)}: reading {'WARC files' if is_warc else 'HTML'}"
    semantic = None if spec.dedup is None else spec.dedup.semantic
    if semantic is not None and semantic.embedding is None:
        yield "sources", spec.where("dedup", "semantic")
    for where, url in [("--store", store), *_urls(spec)]:
        if any(protocol in url for protocol in S3):
            yield "s3", f"{where}: {url}"
    if work in TRAINS:
        yield "train", f"`mixproof {work}`"
    if work in SCORES and spec.external is not None and spec.external.tasks is not None:
        yield "lm-eval", spec.where("external", "tasks")


def _of_labels(spec: Spec, source: str) -> Iterator[tuple[str, str]]:
    for name, label in spec.labels_of(source).items():
        if label.language is not None or label.fasttext is not None:
            yield "documents", f"{spec.where('sources', source)}: the label {name}"
        if label.clusters is not None and label.clusters.embedding is None:
            yield "sources", f"{spec.where('sources', source)}: clusters"
        if label.classifier is not None and label.classifier.from_ is None and label.classifier.kind == "fasttext":
            yield "documents", f"{spec.where('sources', source)}: the label {name}"
        if label.classifier is not None and label.classifier.kind == "linear" and label.classifier.embedding is None:
            yield "sources", f"{spec.where('sources', source)}: the label {name}"


def _urls(spec: Spec) -> Iterator[tuple[str, str]]:
    for name, source in spec.sources.items():
        yield from ((spec.where("sources", name), url) for url in _patterns(source))
    if spec.decontaminate is not False:
        files = (file for entry in spec.decontaminate.against for file in entry.files)
        yield from ((spec.where("decontaminate", "against"), url) for url in files)
    if spec.heldout.from_ is not None:
        yield spec.where("heldout", "from"), spec.heldout.from_
    for name, patterns in (spec.external.sets if spec.external is not None else {}).items():
        yield from ((spec.where("external", "sets", name), url) for url in patterns)


def _patterns(source: Source) -> tuple[str, ...]:
    return source.files if source.megatron is None else (source.megatron,)
