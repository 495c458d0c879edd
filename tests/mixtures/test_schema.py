"""The JSON Schema accepts what loads, shorthands too, and points at what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from ruamel.yaml import YAML

from mixproof.mixtures.schema import json_schema


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """Give a validator of specs."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _read(text: str) -> Any:  # noqa: ANN401  any YAML value
    return YAML(typ="safe", pure=True).load(text)


def test_the_small_spec_and_the_demo_are_accepted(validator: jsonschema.Draft202012Validator, base: str) -> None:
    validator.validate(_read(base))
    validator.validate(_read((Path(__file__).parents[2] / "mixtures" / "demo.yaml").read_text()))


@pytest.mark.parametrize(
    "mixture",
    [
        "{web: 0.7, code: 30%}",
        "{parts: {web: 2, code: 1}}",
        "{g: {share: 60%, of: {web: 2, more: {parts: 1, of: {wiki: 1}}}}, code: 40%}",
        "{rule: proportional, times: {code: 2}}",
        "{rule: temperature, temperature: 2}",
        "{phases: [{until: 80%, shares: main}, {until: 1, shares: {parts: {web: 1}}}]}",
        "{phases: [{until: 1, rule: unimax}]}",
        "null",
    ],
)
def test_every_form_of_a_mixture_is_accepted(
    mixture: str, validator: jsonschema.Draft202012Validator, base: str
) -> None:
    validator.validate(_read(base.replace("mixtures:", f"mixtures:\n  other: {mixture}")))


@pytest.mark.parametrize(
    "line",
    [
        "dedup: true",
        "dedup: {fuzzy: true, scope: {a: [web]}}",
        "dedup: {paragraphs: true}",
        "dedup: {paragraphs: {min_words: 5, sources: [web]}}",
        "dedup: {substrings: true}",
        "dedup: {substrings: {bytes: 200, min_doc_words: 1, sources: [web]}}",
        "decontaminate: false",
        "decontaminate: {against: x.jsonl}",
        "heldout: {create: {tokens: 1M}}",
        "target: {tokens: 10T, max_epochs: 4}",
        "objective: null",
        "train: {init_from: ckpt, proxies: {nano: {tokens: 1M, global_batch_size: 4, lr: 1e-3}}}",
        "train: {init_from: {checkpoint: c, optimizer: true}, proxies: {n: {tokens: 1, global_batch_size: 4, lr: 1}}}",
    ],
)
def test_shorthands_are_accepted(line: str, validator: jsonschema.Draft202012Validator, base: str) -> None:
    validator.validate(_read(base) | _read(line))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: code", "formats: code"),
        ("format: code", "steps: length"),
        ("{web: 70%, code: 20%, wiki: 10%}", "{rule: natural}"),
        ("{web: 70%, code: 20%, wiki: 10%}", "[web]"),
        ("web: 70%", "web: many"),
        ("lr: 1.0e-3", "tokenz: 3"),
        ("tokens: 1000, ", ""),
        ("name: small", ""),
        ("sequence_length: 10", "sequence_length: 0"),
    ],
)
def test_mistakes_are_pointed_at(old: str, new: str, validator: jsonschema.Draft202012Validator, base: str) -> None:
    assert list(validator.iter_errors(_read(base.replace(old, new))))


def test_a_child_need_not_say_what_its_parent_says(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(_read("extends: base.yaml\nsources: {web: null}\ntrain: {proxies: {nano: {lr: 0.1}}}\n"))
