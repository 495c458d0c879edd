"""What an editor marks in a spec, and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from ruamel.yaml import YAML

from conftest import SPEC
from mixproof.cli.spec_schema import SCHEMA_FILE, schema_bytes, spec_schema
from mixproof.pipeline.steps.registry import KINDS

MIXTURES = Path(__file__).parents[2] / "mixtures"
SHIPPED = sorted(MIXTURES.glob("*.yaml"))
EXAMPLES = sorted((MIXTURES.parent / "examples").glob("*/*.yaml"))
WEB = 'guide: {files: "corpus/guide.jsonl"'


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = spec_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def read(text: str) -> Any:  # noqa: ANN401  any YAML value
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_name_the_schema_beside_them_and_follow_it(
    path: Path, validator: jsonschema.Draft202012Validator
) -> None:
    text = path.read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    validator.validate(read(text))
    assert (MIXTURES / SCHEMA_FILE).read_bytes() == schema_bytes(), "`make docs` writes it"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_examples_name_the_schema_and_follow_it(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    text = path.read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema=../../mixtures/{SCHEMA_FILE}"
    validator.validate(read(text))


@pytest.mark.parametrize(
    "steps",
    [
        "[length, {length: {min_chars: 1_000}}, {length: null}]",
        "[{language: {keep: en, min_score: 65%}}, {language: {keep: [en, de]}}]",
        "[{gopher_quality: {max_symbol_word_ratio: 1/10, stop_words: [a]}}]",
        "[{gopher_repetition: {top_n_grams: [[2, 0.2]], dup_line_frac: null}}]",
        "[{score: {field: edu, min: 2.5}}, {sampler: {rate: 10%}}, {regex: {regex_exp: x}}]",
        "[{datatrove: GopherQualityFilter, min_doc_words: 50}]",
    ],
)
def test_every_form_of_a_step_is_accepted(steps: str, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(read(SPEC.replace(WEB, f"{WEB}, steps: {steps}")))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (WEB, f"{WEB}, steps: [gopher_qualty]"),
        (WEB, f"{WEB}, steps: [{{gopher_quality: {{min_doc_word: 3}}}}]"),
        (WEB, f"{WEB}, steps: [{{gopher_qualty: {{}}}}]"),
        (WEB, f"{WEB}, steps: [{{language: {{min_score: 65}}}}]"),
        (WEB, f"{WEB}, steps: [score]"),
        (WEB, f"{WEB}, steps: [{{score: {{min: 3}}}}]"),
        ("{manual: 40%, guide: 30%,", "{manual: 40, guide: 30%,"),
        ("{manual: 40%, guide: 30%,", "{manual: 140%, guide: 30%,"),
        ("exact: true", "fuzzy: {threshold: 80}"),
        ("exact: true", "fuzzy: {threshold: 80 percent}"),
        ("bytes: 2MB", "bytes: 2 megabytes"),
        ("tokens: 4K", "tokens: 4X"),
        ("sequence_length: 64", "sequence_length: 64.5"),
        ("lr: 2.0e-3", "lr: fast"),
    ],
)
def test_names_shares_and_units_that_are_wrong_are_marked(
    right: str, wrong: str, validator: jsonschema.Draft202012Validator
) -> None:
    assert right in SPEC
    assert list(validator.iter_errors(read(SPEC.replace(right, wrong))))


def test_every_step_is_known_with_its_options_and_what_they_mean() -> None:
    definitions = spec_schema()["$defs"]
    for name, kind in KINDS.items():
        options = definitions[f"step_{name}"]["properties"]
        assert set(options) == set(kind.options.model_fields)
    assert "URL" in definitions["step_url"]["properties"]["soft_word_threshold"]["description"]
