"""YAML is read without surprises, and what it extends is merged as the design says."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.yaml_tree import read_tree


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_decimals_stay_exact_and_no_is_no_boolean(tmp_path: Path) -> None:
    spec = _write(tmp_path / "a.yaml", "a: 0.1\nb: 2_000\nc: no\nd: 2024-01-01\ne: 0x10\nf: 3.0e-4\ng: true\nh: 010\n")
    data = read_tree(spec).data
    assert data == {
        **{"a": Decimal("0.1"), "b": 2000, "c": "no", "d": "2024-01-01"},
        **{"e": 16, "f": Decimal("0.00030"), "g": True, "h": 10},
    }
    assert isinstance(data["a"], Decimal)


def test_maps_merge_lists_replace_and_null_deletes(tmp_path: Path) -> None:
    _write(tmp_path / "base.yaml", "m: {a: 1, b: 2, c: {d: 3}}\nl: [1, 2]\nx: 5\n")
    child = _write(tmp_path / "child.yaml", "extends: base.yaml\nm: {b: null, c: {e: 4}}\nl: [3]\nx: null\n")
    tree = read_tree(child)
    assert tree.data == {"m": {"a": 1, "c": {"d": 3, "e": 4}}, "l": [3]}
    assert str(tree.positions["m", "c", "d"]) == f"{tmp_path / 'base.yaml'}:1"
    assert str(tree.positions["m", "c", "e"]) == f"{child}:2"
    assert ("l", 1) not in tree.positions


def test_a_parents_relative_paths_mean_the_parents_folder(tmp_path: Path) -> None:
    text = """\
sources:
  a: {files: ["x/*.jsonl", /abs/y, "s3://bucket/z"]}
  b: {files: only.jsonl}
tokenizer: {sentencepiece: tok.model}
train: {init_from: {checkpoint: first/run, optimizer: true}}
"""
    _write(tmp_path / "shared/base.yaml", text)
    data = read_tree(_write(tmp_path / "mine/child.yaml", "extends: ../shared/base.yaml\n")).data
    assert data["sources"]["a"]["files"] == ["../shared/x/*.jsonl", "/abs/y", "s3://bucket/z"]
    assert data["sources"]["b"]["files"] == "../shared/only.jsonl"
    assert data["tokenizer"] == {"sentencepiece": "../shared/tok.model"}
    assert data["train"]["init_from"] == {"checkpoint": "../shared/first/run", "optimizer": True}
    _write(tmp_path / "shared/base.yaml", "train: {init_from: first/run}\n")
    data = read_tree(tmp_path / "mine/child.yaml").data
    assert data["train"]["init_from"] == "../shared/first/run"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", r":3: a: duplicate key, first given in line 1"),
        ("m:\n  k: 1\n  k: 2\n", r":3: m\.k: duplicate key"),
        ("a: [1, 2\nb: 3\n", r":2: invalid YAML"),
        ("a: \x01\n", r":1: invalid YAML"),
        ("- a\n", "a spec must be a map"),
        ("", "a spec must be a map"),
        ("a: !!python/object:x 1\n", r":1: a: the tag"),
        ("a: 1\n---\nb: 2\n", "invalid YAML"),
        ("a: &x [*x]\n", "nested more than"),
        (f"a: &x {'x' * 10_000}\nb: [{'*x, ' * 1_000}]\n", "more than 10,000,000 characters of values"),
        (
            "a: &a [1]\nb: &b [" + "*a, " * 50 + "*a]\nc: &c [" + "*b, " * 50 + "*b]\nd: [" + "*c, " * 50 + "*c]\n",
            "more than",
        ),
        ("a: " + "[" * 3000, "nested more than"),
        ("[1]: 2\n", "a key must be a name"),
        ("extends: a.yaml\n", "extends: circular: .*a.yaml > .*a.yaml"),
        ("extends: nowhere.yaml\n", r":1: extends: no such file: .*nowhere"),
        ("extends: [b.yaml]\n", r":1: extends: must be one file"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        read_tree(_write(tmp_path / "a.yaml", text))
    assert str(tmp_path / "a.yaml") in str(caught.value)


def test_bytes_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(SpecError, match="byte 6 is not UTF-8"):
        read_tree(tmp_path / "a.yaml")
