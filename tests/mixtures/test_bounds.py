"""Every number of a spec has an upper bound: what no run could use is refused when the spec is read, with its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, WithJsonSchema

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.schema import json_schema
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]


def _models(kind: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401  a type annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from _models(field.annotation)
    for argument in get_args(kind):
        yield from _models(argument)


def _bare_integers(kind: Any) -> bool:  # noqa: ANN401  a type annotation
    if get_origin(kind) is Annotated:
        return False
    return kind is int or any(_bare_integers(argument) for argument in get_args(kind))


def test_no_key_of_a_spec_is_an_integer_without_bounds() -> None:
    models = {model.__name__: model for model in _models(Spec)}
    assert {"Train", "Proxy", "Architecture", "TokenizerTraining", "FuzzyDedup", "HeldoutCreate"} <= models.keys()
    unbounded = [
        f"{name}.{key}"
        for name, model in models.items()
        for key, field in model.model_fields.items()
        if _bare_integers(field.annotation) and not any(isinstance(one, WithJsonSchema) for one in field.metadata)
    ]
    assert unbounded == []
    integers = [part for part in _parts(json_schema()) if part.get("type") == "integer"]
    assert integers and all("maximum" in part or part.get("const") == 1 for part in integers)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  a JSON value
    if isinstance(schema, dict):
        yield schema
    for item in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _parts(item)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "sequence_length: 10",
            f"seeds: [1, {2**63}]",
            r":11: train\.seeds\[1\]: 9223372036854775808 is too large; at most",
        ),
        ("sequence_length: 10", "seeds: [17982163893102248868]", r"seeds\[0\]: .*because seeds are 64-bit integers"),
        ("sequence_length: 10", "sequence_length: 100_000_000", r":11: train\.sequence_length: 100000000 is too large"),
        ("sequence_length: 10", "rope_base: 10000000000000", r":11: train\.rope_base: .* is too large"),
        (
            "{sentencepiece: tok.model}",
            "{train: {vocab_size: 3000000000}}",
            r":7: tokenizer\.train\.vocab_size: 3000000000",
        ),
        ("global_batch_size: 2", "global_batch_size: 3000000000", r":13: train\.proxies\.nano\.global_batch_size: 30"),
        ("tokens: 1000", "tokens: 10000000T", r"nano\.tokens: 10000000T is too large; at most"),
        ("tokens: 1000", "tokens: 1e31", r"nano\.tokens: 1E\+31 is not a number of tokens"),
        ("lr: 1.0e-3", "lr: 1" + "0" * 40, r"nano\.lr: 10+ is too large; at most 1e30 is possible"),
        ("lr: 1.0e-3", "lr: 1/" + "3" * 70, r"nano\.lr: 1/3+ has too many digits"),
        ("schema: 1", "schema: 1\ndedup: {fuzzy: {bands: 1001}}", r":2: dedup\.fuzzy\.bands: 1001 is too large"),
        ("schema: 1", "schema: 1\nlimits: {line_bytes: 2000000TB}", r":2: limits\.line_bytes: 2000000TB is too large"),
        ("schema: 1", "schema: 1\nlimits: {expansion: 2000000}", r":2: limits\.expansion: 2000000 is too large"),
        (
            "format: code",
            "steps: [{length: {min_chars: 1e999999999}}]",
            r"steps\[0\]\.length\.min_chars: 1E\+999999999 is",
        ),
        ("name: small", "name: 0x" + "f" * 5000, r":2: name: the name has 5,002 characters"),
    ],
)
def test_a_number_that_no_run_could_use_is_refused(old: str, new: str, message: str, load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_with(old, new)
    assert caught.value.exit_code == 2


def test_the_largest_seed_is_read_as_it_is(load_with: LoadWith) -> None:
    assert load_with("sequence_length: 10", f"seeds: [0, {2**63 - 1}]").train.seeds == (0, 2**63 - 1)


@pytest.mark.parametrize("seeds", ["[true]", '["3"]', "[1.5]", "[-1]"])
def test_a_seed_is_a_whole_number_and_nothing_that_can_be_read_as_one(seeds: str, load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=r"train\.seeds\[0\]: .* is not a whole number[^\n]*$"):
        load_with("sequence_length: 10", f"seeds: {seeds}")


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("3", r":11: train\.seeds: must be a list: `seeds: \[3\]` for the seed 3, `seeds: \[1, 2, 3\]` for 3 seeds"),
        ("0", r"`seeds: \[0\]` for the seed 0$"),
        ("40", r"`seeds: \[40\]` for the seed 40, `seeds: \[1, 2, \.\.\., 40\]` for 40 seeds"),
    ],
)
def test_one_number_of_seeds_is_refused_with_both_spellings(seeds: str, message: str, load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=message):
        load_with("sequence_length: 10", f"seeds: {seeds}")


def test_a_proxy_without_a_learning_rate_misses_the_learning_rate_alone(load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=r":13: train\.proxies\.nano: `lr` is missing; add it$"):
        load_with(", lr: 1.0e-3", "")


def test_a_percentage_has_one_percent_sign(load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=r":2: on_bad_record\.reject: '1%%' is not a number"):
        load_with("schema: 1", "schema: 1\non_bad_record: {reject: 1%%}")


def test_booleans_of_yaml_1_1_are_text(load_with: LoadWith) -> None:
    for word in ("yes", "on", "no"):
        with pytest.raises(SpecError, match=rf"train\.document_mask: must be true or false, not '{word}'"):
            load_with("schema: 1\n", "%YAML 1.1\n---\nschema: 1\n").model_copy()
            load_with("sequence_length: 10", f"document_mask: {word}")
