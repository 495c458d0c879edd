"""A null removes what a parent file has; any other key without a value is an error, and so is a comma in a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec

LoadText = Callable[[str], Spec]
LoadWith = Callable[[str, str], Spec]
MIXTURE = "{web: 70%, code: 20%, wiki: 10%}"
SCHEMA = "schema: 1"
SEQUENCE = "sequence_length: 10"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "tokens: 1000",
            "tokens: 1,024",
            r":13: train\.proxies\.nano\.tokens: .*1,024 is 1 and a key 024; write 1\.024",
        ),
        (
            "tokens: 1000",
            "tokens: 1,000,000",
            r":13: train\.proxies\.nano\.tokens: .*; write 1_000_000 for a whole",
        ),
        ("tokens: 1000", "tokens: 1,5B", r"nano\.tokens: .*write 1\.5B for a decimal"),
        ("lr: 1.0e-3", "lr: 1.0e-3, min_lr: 0,0006", r"nano\.min_lr: .*write 0\.0006 for a decimal"),
        (MIXTURE, "{rule: proportional, times: {web: 1,5}}", r":9: mixtures\.main\.times\.web: .*write 1\.5"),
        (MIXTURE, "{rule: temperature, temperature: 1,25}", r":9: mixtures\.main\.temperature: .*write 1\.25"),
        (MIXTURE, "{web: 33,3%, code: 66.7%}", r":9: mixtures\.main\.web: .*write 33\.3%"),
        (MIXTURE, "{parts: {web: 2,5, code: 1}}", r":9: mixtures\.main\.parts\.web: .*write 2\.5"),
        (MIXTURE, "{phases: [{until: 99,5%, shares: {web: 1}}]}", r"main\.phases\[0\]\.until: .*write 99\.5%"),
        (SEQUENCE, "optimizer: {weight_decay: 0,1}", r":11: train\.optimizer\.weight_decay: .*write 0\.1"),
        (SCHEMA, "schema: 1\nobjective: {heldout_bpb: {web: 0,5}}", r":2: objective\.heldout_bpb\.web: .*write 0\.5"),
        (SCHEMA, "schema: 1\ntarget: {tokens: 1,5T}", r":2: target\.tokens: .*write 1\.5T"),
        ("lr: 1.0e-3", "lr: 6,0e-3", r"nano\.lr: .*write 6\.0e-3 for a decimal$"),
        ("tokens: 1000", "tokens: 1,0,0", r"nano\.tokens: .*write numbers without commas$"),
    ],
)
def test_a_comma_in_a_number_of_a_flow_map_is_an_error(old: str, new: str, message: str, load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=message):
        load_with(old, new)


def test_a_comma_in_a_number_of_a_list_is_an_error_where_zeros_show_it(load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=r":11: train\.seeds\[1\]: 1,024 is two entries, 1 and 024; write 1_024"):
        load_with(SEQUENCE, "seeds: [1,024]")
    assert load_with(SEQUENCE, "seeds: [1,100]").train.seeds == (1, 100)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (SCHEMA, "schema: 1\nobjektive:", r":2: objektive: unknown key; did you mean 'objective'\?"),
        (SCHEMA, "schema: 1\nobjektive: null", r":2: objektive: unknown key; did you mean 'objective'\?"),
        (SEQUENCE, "evaluate_evry:", r":11: train\.evaluate_evry: unknown key; did you mean 'evaluate_every'\?"),
        (
            "format: code}",
            "format: code, keep_droped}",
            r":5: sources\.code\.keep_droped: unknown key; .*'keep_dropped'",
        ),
        (SCHEMA, "schema: 1\ndedup: {fuzzy}", r":2: dedup\.fuzzy: has no value; give one, or remove the key"),
        (SCHEMA, "schema: 1\nobjective:", r":2: objective: has no value"),
        (SCHEMA, "schema: 1\nextends:", r":2: extends: must be one file"),
        (MIXTURE, "{web: 100%, code}", r":9: mixtures\.main\.code: has no value"),
        (MIXTURE, "{web: 100%, code: null}", r":9: mixtures\.main\.code: there is nothing to remove: no parent file"),
        ("  wiki: {", "  other: null\n  wiki: {", r":6: sources\.other: there is nothing to remove"),
        (
            SCHEMA,
            "schema: 1\ntarget: {tokens: 1T, max_epochs: {web: ~}}",
            r"max_epochs\.web: there is nothing to",
        ),
        (
            SCHEMA,
            "schema: 1\ndecontaminate: {against: [{files: x.jsonl, fields}]}",
            r":2: decontaminate\.against\[0\]\.fields: has no value",
        ),
        (
            "format: code}",
            "format: code, steps: [length: {min_chars}]}",
            r":5: sources\.code\.steps\[0\]\.length\.min_chars: has no value",
        ),
    ],
)
def test_a_key_without_a_value_is_an_error(old: str, new: str, message: str, load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match=message):
        load_with(old, new)


def test_a_step_without_options_may_end_with_a_colon(load_with: LoadWith) -> None:
    steps = load_with("format: code}", "format: code, steps: [length: , pii]}").sources["code"].steps
    assert [(step.name, step.options) for step in steps] == [("length", {}), ("pii", {})]


def test_an_explicit_null_of_a_known_key_is_its_default(load_text: LoadText, base: str) -> None:
    nulls = "dedup: null\ntarget: ~\nobjective: null\n"
    assert load_text(base + nulls) == load_text(base)
    assert load_text(base.replace("lr: 1.0e-3", "lr: 1.0e-3, gpus: null, micro_batch_size: null")) == load_text(base)
    assert load_text(base.replace("format: code", "format: code, steps: null")) == load_text(base)


def test_a_null_removes_what_a_parent_has_at_every_level(tmp_path: Path, base: str) -> None:
    (tmp_path / "base.yaml").write_text(
        base + "dedup: {exact: true, fuzzy: true}\nobjective: {heldout_bpb: {web: 1}}\n"
    )
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nmixtures: {main: null, other: {rule: proportional}}\n")
    (tmp_path / "grandchild.yaml").write_text("extends: child.yaml\ndedup: {fuzzy: }\nobjective: null\n")
    spec = load_spec(tmp_path / "grandchild.yaml").spec
    assert list(spec.mixtures) == ["other"]
    assert spec.dedup is not None and spec.dedup.fuzzy is None
    assert spec.objective is None


def test_a_null_in_a_child_for_what_no_parent_has_is_an_error(tmp_path: Path, base: str) -> None:
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nmixtures: {mian: null}\n")
    with pytest.raises(SpecError, match=r"child\.yaml:2: mixtures\.mian: there is nothing to remove"):
        load_spec(tmp_path / "child.yaml")
