"""Diffs of specs, of builds and of runs: dotted keys with both values, and what follows from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import write_manifest
from mixproof.train.launch.diff import Diff, diff, differences_of

SPEC = """\
schema: 1
name: small
sources:
  a: {files: "a/*.jsonl", steps: [{length: {min_chars: 100}}]}
  b: {files: "b/*.jsonl"}
tokenizer: {train: {vocab_size: 500, bytes: 100KB}}
mixtures:
  even: {a: 50%, b: 50%}
  mostly: {a: 80%, b: 20%}
train:
  sequence_length: 64
  proxies:
    nano: {tokens: 64K, global_batch_size: 4, lr: 1e-3, min_lr: 1e-4}
  seeds: [1, 2]
objective: {heldout_bpb: {a: 1, b: 1}}
"""


def compare(folder: Path, *changes: tuple[str, str]) -> Diff:
    changed = SPEC
    for old, new in changes:
        assert old in changed
        changed = changed.replace(old, new)
    (folder / "a.yaml").write_text(SPEC)
    (folder / "b.yaml").write_text(changed)
    return diff(folder / "a.yaml", folder / "b.yaml")


def reruns_of(found: Diff) -> dict[str, list[str]]:
    return {rerun.what: list(rerun.because) for rerun in found.reruns}


def test_maps_are_flattened_and_lists_of_plain_values_are_one_value() -> None:
    a = {"x": {"y": 1, "z": [1, 2]}, "steps": [{"name": "length"}], "only": 3, "empty": {}}
    b = {"x": {"y": 1, "z": [2, 1]}, "steps": [{"name": "url"}, {"name": "length"}], "empty": {}}
    assert [(d.key, d.a, d.b, d.only) for d in differences_of(a, b)] == [
        ("only", 3, None, "a"),
        ("steps.0.name", "length", "url", None),
        ("steps.1.name", None, "length", "b"),
        ("x.z", [1, 2], [2, 1], None),
    ]
    assert differences_of(a, a) == ()


def test_equal_specs_differ_in_nothing_even_where_they_are_written_otherwise(tmp_path: Path) -> None:
    found = compare(tmp_path, ("64K", "64_000"), ("80%", "0.8"))
    assert (found.differences, found.reruns, found.notes) == ((), (), ())
    assert found.to_json()["same"] is True


def test_a_share_trains_its_own_mixture_again_and_no_other(tmp_path: Path) -> None:
    found = compare(tmp_path, ("{a: 80%, b: 20%}", "{a: 70%, b: 30%}"))
    keys = ["mixtures.mostly.shares.a", "mixtures.mostly.shares.b"]
    assert [d.key for d in found.differences] == keys
    assert reruns_of(found) == {"run mostly × nano × seed 1": keys, "run mostly × nano × seed 2": keys}
    assert any("the source is then drawn again" in note for note in found.notes)


def test_a_new_seed_adds_runs_and_leaves_those_that_are_done(tmp_path: Path) -> None:
    found = reruns_of(compare(tmp_path, ("[1, 2]", "[1, 2, 3]")))
    assert found == {f"run {mixture} × nano × seed 3": ["train.seeds"] for mixture in ("even", "mostly")}


def test_a_step_reads_its_source_again_and_everything_after_it(tmp_path: Path) -> None:
    found = compare(tmp_path, ("min_chars: 100", "min_chars: 200"))
    key = "sources.a.steps.0.options.min_chars"
    assert [(d.key, d.a, d.b) for d in found.differences] == [(key, 100, 200)]
    stages = ["read a", "tokenizer", "heldout", "decontaminate", "encode"]
    runs = [f"run {mixture} × nano × seed {seed}" for mixture in ("even", "mostly") for seed in (1, 2)]
    assert reruns_of(found) == {what: [key] for what in (*stages, *runs)}
    found = compare(tmp_path, ("mixtures:", "dedup: {exact: true}\nmixtures:"))
    assert list(reruns_of(found))[:3] == ["dedup", "tokenizer", "heldout"]


def test_what_no_weight_depends_on_reruns_nothing_but_the_comparison(tmp_path: Path) -> None:
    assert reruns_of(compare(tmp_path, ("name: small", "name: other"))) == {}
    assert reruns_of(compare(tmp_path, ("lr: 1e-3", "micro_batch_size: 2, lr: 1e-3"))) == {}
    found = reruns_of(compare(tmp_path, ("{a: 1, b: 1}", "{a: 2, b: 1}")))
    assert found == {"compare": ["objective.heldout_bpb.a"]}


def test_a_recipe_trains_every_run_of_its_proxy_again(tmp_path: Path) -> None:
    found = reruns_of(compare(tmp_path, ("lr: 1e-3", "lr: 2e-3")))
    assert len(found) == 4
    assert set(map(tuple, found.values())) == {("train.proxies.nano.lr",)}


def test_builds_differ_by_their_statements(make_corpus: Callable[..., Any], tmp_path: Path) -> None:
    corpora = [
        make_corpus({"a": [[5, 6], [7]], "b": last}, {"a": [[8]]}, place=name)
        for name, last in (("one", [[9]]), ("two", [[9, 9]]))
    ]
    paths = []
    for number, corpus in enumerate(corpora):
        spec = {"sources": {"b": {"inputs": str(number)}}, "tokenizer": {"train": None}}
        paths.append(write_manifest(corpus.store, corpus.manifest.model_copy(update={"spec": spec})))
    found = diff(paths[0].parent, paths[1])
    assert found.kind == "build"
    by_key = {d.key: (d.a, d.b) for d in found.differences}
    assert by_key["sources.b.train.tokens"] == (2, 3)
    assert by_key["spec.sources.b.inputs"] == ("0", "1")
    assert not any(key.startswith("sources.a.") for key in by_key)
    assert list(reruns_of(found)) == ["read b", "heldout", "encode", "every run on it"]
    assert diff(paths[0], paths[0]).reruns == ()


@pytest.mark.parametrize(
    ("a", "b", "begin"),
    [
        (
            {"stage_versions": {"read": 3, "parts": 2}},
            {"stage_versions": {"read": 4, "parts": 2, "adopt": 1}},
            "A and B were made by different versions of mixproof's stages (adopt none and 1, read 3 and 4), so ids",
        ),
        ({}, {"stage_versions": {"read": 4}}, "A was made by an older version of mixproof, which did not record"),
        ({"stage_versions": {"read": 4}}, {}, "B was made by an older version of mixproof, which did not record"),
        ({"stage_versions": {"read": 4}}, {"stage_versions": {"read": 4}}, None),
        (None, {"stage_versions": {"read": 4}}, None),
        ({}, {}, "both builds were made by versions of mixproof that did not record the versions of their stages"),
    ],
)
def test_builds_of_different_versions_of_the_stages_are_named_as_such(
    make_corpus: Callable[..., Any], a: dict[str, Any] | None, b: dict[str, Any], begin: str | None
) -> None:
    paths = []
    for name, circumstances in (("one", a), ("two", b)):
        corpus = make_corpus({"a": [[5, 6], [7]]}, place=name)
        spec = {"sources": {"a": {"inputs": name}}, "tokenizer": {"train": None}}
        paths.append(write_manifest(corpus.store, corpus.manifest.model_copy(update={"spec": spec})))
        if circumstances is not None:
            (paths[-1].parent / "circumstances.json").write_text(json.dumps(circumstances))
    found = diff(*paths)
    assert [d.key for d in found.differences] == ["spec.sources.a.inputs"]
    assert len(found.notes) == (begin is not None)
    assert all(note.startswith(begin or "") for note in found.notes)
    assert diff(paths[0], paths[0]).notes == ()


def test_two_kinds_cannot_be_compared_and_what_is_missing_is_named(
    tmp_path: Path, make_corpus: Callable[..., Any]
) -> None:
    corpus = make_corpus({"a": [[5]]})
    manifest = corpus.store.path(f"builds/{corpus.manifest.build}/manifest.json")
    (tmp_path / "a.yaml").write_text(SPEC)
    with pytest.raises(RequestError, match="is a spec and .* a build"):
        diff(tmp_path / "a.yaml", manifest)
    with pytest.raises(RequestError, match="no such spec, manifest or run"):
        diff(manifest, tmp_path / "nothing.json")
