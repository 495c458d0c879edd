"""The identity of a build: the part of a spec that determines a build's keys and manifest, and nothing else.

A build depends on the sources' contents, steps, deduplication, held-out sets, decontamination and the
tokenizer. It does not depend on mixtures, budgets, seeds, proxies or file locations. Paths are left out here;
the build replaces them with content hashes. Numbers are integers or exact strings.
"""

from __future__ import annotations

from typing import Any, Literal

from .blocks.dedup import Dedup
from .blocks.heldout import Decontaminate
from .blocks.source import Limits
from .blocks.split import SplitAxis
from .checks import is_source
from .spec import Spec
from .split_sources import SplitSource
from .values.spec_part import SpecPart

FORMATS_BY_CONTENT = frozenset({"jsonl", "parquet", "arrow"})
"""Formats that the content itself determines, so that naming them changes nothing."""


def build_identity(spec: Spec) -> dict[str, Any]:
    """Return the part of a spec on which a build's id depends, ready for canonical JSON.

    Where the build adds the hash of a content, the value is None (`heldout.from`, `decontaminate.against`) or left
    out (a tokenizer's path, a source's `files`).
    """
    heldout, decontaminate, tokenizer = spec.heldout, spec.decontaminate, spec.tokenizer
    return {
        **({} if spec.limits == Limits() else {"limits": spec.limits.identity()}),
        "sources": {name: _source(spec, name) for name in sorted(spec.sources)},
        "on_bad_record": _plain(spec.on_bad_record),
        "dedup": _dedup(spec.dedup),
        "heldout": {"create": _plain(heldout.create)} if heldout.create is not None else {"from": None},
        "decontaminate": _decontaminate(decontaminate),
        "tokenizer": {
            "kind": tokenizer.kind,
            "train": _plain(tokenizer.train),
            "eod": tokenizer.eod,
            **({"bos": tokenizer.bos} if tokenizer.bos else {}),
        },
    }


def _decontaminate(rules: Decontaminate | Literal[False]) -> dict[str, Any] | Literal[False]:
    if rules is False:
        return False
    found = {**_plain(rules), "against": None}
    if rules.ignore_frequent is None:
        del found["ignore_frequent"]
    if rules.questions is False or not rules.against:
        del found["questions"]
    return found


def _dedup(dedup: Dedup | None) -> dict[str, Any] | None:
    if dedup is None or not (dedup.exact or dedup.fuzzy or dedup.semantic or dedup.cuts):
        return None
    rules: dict[str, Any] = _plain(dedup)
    for name in ("semantic", "paragraphs", "substrings"):
        if rules[name] is None:
            del rules[name]
    if dedup.semantic is not None:
        rules["semantic"]["embedding"] = None
    if dedup.on == "conversations":
        del rules["on"]
    return rules


def _source(spec: Spec, name: str) -> dict[str, Any]:
    source = spec.sources[name]
    if source.megatron is not None:
        return {"megatron": True}
    by_content = source.format is None or source.format in FORMATS_BY_CONTENT
    return {
        "format": None if by_content else source.format,
        **({} if source.kind is None else {"template": source.template_text, "supervise": source.supervised}),
        "text": source.text,
        **({} if source.extractor is None else {"extractor": source.extractor}),
        "id": source.id,
        **({"attributes": True} if source.attributes else {}),
        "split_by": [_axis(axis) for axis in source.axes] or source.split_by,
        **({"split_value": source.value} if isinstance(source, SplitSource) else {}),
        **({"labels": labels} if (labels := _labels(spec, name)) else {}),
        **({"keep": [_given(rule) for rule in source.keep]} if source.keep else {}),
        "steps": [_plain(step) for step in source.steps],
    }


def _labels(spec: Spec, source: str) -> dict[str, Any]:
    """The labels of a source; the build adds the hashes of models, token tables and clusters of other builds."""
    found: dict[str, Any] = {}
    for name, label in sorted(spec.labels_of(source).items()):
        found[name] = _given(label)
        if label.fasttext is not None:
            found[name]["fasttext"]["model"] = None
        if label.clusters is not None:
            found[name]["clusters"]["embedding"] = None
            if label.clusters.from_ is not None:
                found[name]["clusters"]["from"] = None
        if label.classifier is not None and label.classifier.from_ is not None:
            found[name] = {"classifier": {"from": None}}
        elif label.classifier is not None:
            given = found[name]["classifier"]
            for side in ("positive", "negative"):
                given[side] = [entry if is_source(spec, entry) else None for entry in given[side]]
            given["embedding"] = given["evaluate"] = None
    return found


def _axis(axis: SplitAxis) -> dict[str, Any]:
    """An axis; its clusters are stated as a label."""
    return {**_given(axis), **({"clusters": True} if axis.clusters is not None else {})}


def _given(part: SpecPart) -> dict[str, Any]:
    """A model without keys that are not given, so that new optional keys change no identity."""
    return part.model_dump(mode="json", by_alias=True, exclude_none=True)


def _plain(part: Any) -> Any:  # noqa: ANN401  a model or None
    return None if part is None else part.model_dump(mode="json", by_alias=True)
