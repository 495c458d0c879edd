"""Relative paths mean the folder of the file that they are written in, in every key and every link of a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec_paths import FILE_KEYS, PATTERN_KEYS, unset_variables
from mixproof.mixtures.yaml_tree import read_tree


def _nested(keys: tuple[str, ...], value: object) -> Any:  # noqa: ANN401  a YAML value
    for key in reversed(keys):
        value = [value] if key == "*" and keys[:2] == ("decontaminate", "against") else {key.replace("*", "x"): value}
    return value


def _found(data: Any, keys: tuple[str, ...]) -> object:  # noqa: ANN401  a YAML value
    for key in keys:
        data = data[0] if isinstance(data, list) else data[key.replace("*", "x")]
    return data


def _read_child(tmp_path: Path, parent: object, folder: str = "base") -> Any:  # noqa: ANN401  a YAML value
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "exp").mkdir(exist_ok=True)
    (tmp_path / folder / "base.yaml").write_text(str(parent))  # a Python literal is a YAML flow map
    (tmp_path / "exp" / "child.yaml").write_text(f"extends: '../{folder}/base.yaml'\nname: child\n")
    return read_tree(tmp_path / "exp" / "child.yaml").data


@pytest.mark.parametrize("keys", [*PATTERN_KEYS, *FILE_KEYS], ids=".".join)
def test_every_key_that_holds_a_path_is_moved(keys: tuple[str, ...], tmp_path: Path) -> None:
    assert _found(_read_child(tmp_path, _nested(keys, "d/f")), keys) == "../base/d/f"
    assert _found(_read_child(tmp_path, _nested(keys, "/abs/f")), keys) == "/abs/f"
    assert _found(_read_child(tmp_path, _nested(keys, "s3://bucket/f")), keys) == "s3://bucket/f"


@pytest.mark.parametrize(
    ("written", "moved"),
    [
        ("zip://data/*.jsonl::d.zip", "zip://data/*.jsonl::../base/d.zip"),
        ("zip://*.jsonl::file://d.zip", "zip://*.jsonl::file://../base/d.zip"),
        ("zip://a::zip://b.zip::d.zip", "zip://a::zip://b.zip::../base/d.zip"),
        ("simplecache::d.zip", "simplecache::../base/d.zip"),
        ("zip://a.jsonl::/abs/d.zip", "zip://a.jsonl::/abs/d.zip"),
        ("zip://a.jsonl::s3://bucket/d.zip", "zip://a.jsonl::s3://bucket/d.zip"),
        ("file://x.jsonl", "file://../base/x.jsonl"),
        ("Foo::Bar.jsonl", "../base/Foo::Bar.jsonl"),
    ],
)
def test_of_a_chain_the_last_link_is_moved(written: str, moved: str, tmp_path: Path) -> None:
    data = _read_child(tmp_path, {"sources": {"a": {"files": [written, "b.jsonl"]}}})
    assert data["sources"]["a"]["files"] == [moved, "../base/b.jsonl"]


def test_glob_characters_in_a_parents_folder_are_not_part_of_the_pattern(tmp_path: Path) -> None:
    data = _read_child(tmp_path, {"sources": {"a": {"files": ["*.jsonl", "b.jsonl"]}}}, folder="b[1]")
    assert data["sources"]["a"]["files"] == ["../b[[]1]/*.jsonl", "../b[1]/b.jsonl"]


@pytest.mark.parametrize("keys", [*PATTERN_KEYS, *FILE_KEYS], ids=".".join)
def test_the_home_folder_is_expanded_in_every_key(
    keys: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "a.yaml").write_text(str(_nested(keys, "~/d/f")))
    assert _found(read_tree(tmp_path / "a.yaml").data, keys) == "/home/me/d/f"
    assert _found(_read_child(tmp_path, _nested(keys, "~/d/f")), keys) == "/home/me/d/f"


def test_the_home_folder_is_expanded_at_the_end_of_a_chain_and_in_extends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("sources: {a: {files: 'zip://x::~/d.zip'}}\n")
    (tmp_path / "child.yaml").write_text("extends: ~/base.yaml\n")
    assert read_tree(tmp_path / "child.yaml").data["sources"]["a"]["files"] == f"zip://x::{tmp_path}/d.zip"


def test_a_home_folder_that_does_not_exist_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: x\ntrain: {init_from: ~nobody-of-this-name/ck}\n")
    with pytest.raises(SpecError, match=r"a\.yaml:2: train\.init_from: '~nobody-of-this-name/ck': no such home folder"):
        read_tree(tmp_path / "a.yaml")


def test_variables_are_expanded_and_those_that_are_not_set_are_named_where_no_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPORA", "/data/text")
    monkeypatch.setenv("BUCKET", "b")
    monkeypatch.delenv("NOWHERE", raising=False)
    path = tmp_path / "s.yaml"
    path.write_text(
        "sources: {a: {files: [$CORPORA/*.jsonl, '${CORPORA}2/x.jsonl', 's3://$BUCKET/x.jsonl', $NOWHERE/x, a$.jsonl]}}"
        "\n"
        "tokenizer: {sentencepiece: $CORPORA/tok.model}\n"
    )
    data = read_tree(path).data
    expected = ["/data/text/*.jsonl", "/data/text2/x.jsonl", "s3://b/x.jsonl", "$NOWHERE/x", "a$.jsonl"]
    assert data["sources"]["a"]["files"] == expected
    assert data["tokenizer"]["sentencepiece"] == "/data/text/tok.model"
    assert unset_variables("$NOWHERE/${NOR_HERE}/$CORPORA") == "; the environment has no $NOWHERE and no $NOR_HERE"
    assert unset_variables("a$.jsonl") == ""


def test_a_pattern_that_yaml_reads_as_an_alias_is_an_error_that_asks_for_quotes(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for value in ("*.jsonl", "**/*.jsonl", "*web", "[a.jsonl, *.txt]"):
        path.write_text(f"sources: {{}}\nfiles: {value}\n")
        with pytest.raises(SpecError, match=r's\.yaml:2: invalid YAML: .*must be in quotes, as in "\*\.jsonl"'):
            read_tree(path)
