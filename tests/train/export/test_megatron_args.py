"""The files for stock Megatron-LM, read by Megatron's own parser, and what its blending makes of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from megatron.core.datasets.utils import get_blend_from_list

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.load import load_spec
from mixproof.train.export.stock_megatron.blend import StockBlend, stock_samples
from mixproof.train.export.stock_megatron.megatron_args import export_megatron_args
from mixproof.train.launch.plan import plan_budgets
from mixproof.train.request import Draw

SPEC = """\
schema: 1
name: two
sources: {a: {files: "*.jsonl"}, b: {files: "*.jsonl"}}
tokenizer: {sentencepiece: tok.model}
mixtures:
  even: {a: 75%, b: 25%}
  turning:
    phases:
      - {until: 50%, shares: {a: 100%}}
      - {until: 100%, shares: {a: 50%, b: 50%}}
  longer: {phases: [{until: 50%, shares: {a: 100%}}, {until: 100%, shares: {a: 100%}, sequence_length: 16}]}
  long_documents: {phases: [{until: 50%, shares: {a: 100%}}, {until: 100%, shares: {a: 100%}, min_tokens: 20}]}
  rotated: {phases: [{until: 50%, shares: {a: 100%}}, {until: 100%, shares: {a: 100%}, rope_base: 500000}]}
train:
  sequence_length: 8
  proxies: {nano: {tokens: 640, global_batch_size: 4, lr: 2.0e-3, min_lr: 2.0e-4}}
"""


@pytest.fixture
def export(make_corpus: Callable[..., Any], documents: Callable[..., Any], tmp_path: Path) -> Callable[..., list[str]]:
    """Export a mixture of a build of two sources in two parts each."""

    def run(mixture: str, folder: Path, place: str = "store", draws: dict[str, Draw] | None = None) -> list[str]:
        (tmp_path / "spec.yaml").write_text(SPEC)
        spec = load_spec(tmp_path / "spec.yaml").spec
        train = {"a": documents(1, 40, 30), "b": documents(2, 40, 30)}
        corpus = make_corpus(train, {"a": documents(3, 4, 9), "b": documents(4, 4, 9)}, parts=2, place=place)
        tokens_of = {name: source.train.tokens for name, source in corpus.manifest.sources.items()}
        budget = plan_budgets(spec, tokens_of)[mixture, "nano"]
        return export_megatron_args(spec, corpus.manifest, corpus.store, mixture, "nano", budget, folder, draws)

    return run


def test_megatron_reads_every_part_with_the_weight_of_its_share(
    export: Callable[..., list[str]], tmp_path: Path
) -> None:
    files = export("even", tmp_path / "out")
    assert files == ["README.md", "args.txt", "blend.json", "data-args.txt", "per-split-data-args.json"]
    prefixes, weights = get_blend_from_list((tmp_path / "out" / "data-args.txt").read_text().split())
    assert [Path(prefix).name for prefix in prefixes] == [
        "a-train-00000",
        "a-train-00001",
        "b-train-00000",
        "b-train-00001",
    ]
    assert all(Path(f"{prefix}.bin").is_file() and Path(f"{prefix}.idx").is_file() for prefix in prefixes)
    # 640 tokens are 80 samples of 8: 60 of a and 20 of b
    assert weights[0] + weights[1] == pytest.approx(60) and weights[2] + weights[3] == pytest.approx(20)
    sizes = [Path(f"{prefix}.bin").stat().st_size for prefix in prefixes]
    assert weights[0] / weights[1] == pytest.approx(sizes[0] / sizes[1])
    splits = json.loads((tmp_path / "out" / "per-split-data-args.json").read_text())
    assert get_blend_from_list(splits["train"])[0] == prefixes
    assert [Path(prefix).name for prefix in get_blend_from_list(splits["valid"])[0]] == [
        "a-heldout-00000",
        "b-heldout-00000",
    ]
    assert splits["test"] is None
    blend = json.loads((tmp_path / "out" / "blend.json").read_text())
    assert [prefix for _, prefix in blend["train"]] == prefixes
    assert [float(weight) for weight, _ in blend["train"]] == weights
    assert [word for pair in blend["valid"] for word in pair] == splits["valid"] and blend["test"] == []


def test_the_flags_say_what_the_spec_says(export: Callable[..., list[str]], tmp_path: Path) -> None:
    export("even", tmp_path / "out")
    flags = (tmp_path / "out" / "args.txt").read_text().splitlines()
    for flag in (
        "--seq-length 8",
        "--train-samples 80",
        "--global-batch-size 4",
        "--lr 0.002",
        "--lr-decay-samples 80",
        "--lr-warmup-samples 4",
        "--lr-wsd-decay-samples 16",
        "--lr-wsd-decay-style minus_sqrt",
        "--hidden-size 64",
        "--num-query-groups 2",
    ):
        assert flag in flags
    assert "--eod-mask-loss" not in flags


def test_each_phase_has_files_of_its_own(export: Callable[..., list[str]], tmp_path: Path) -> None:
    files = export("turning", tmp_path / "out")
    assert {"data-args-phase-2.txt", "args.txt", "args-phase-2.txt"} <= set(files)
    first = get_blend_from_list((tmp_path / "out" / "data-args-phase-1.txt").read_text().split())
    assert {Path(prefix).name[0] for prefix in first[0]} == {"a"}
    note = (tmp_path / "out" / "README.md").read_text()
    # 80 samples in batches of 4 are 20 iterations, and the first phase ends at half of them
    assert "- phase 1: `args.txt`, to iteration 10" in note
    assert "- phase 2: `args-phase-2.txt`, to iteration 20" in note
    for number, name in enumerate(("args.txt", "args-phase-2.txt"), 1):
        flags = (tmp_path / "out" / name).read_text().splitlines()
        assert {"--phase-transition-iterations 10", "--train-samples 80", "--global-batch-size 4"} <= set(flags)
        assert f"--per-split-data-args-path {tmp_path}/out/per-split-data-args-phase-{number}.json" in flags
    assert not any("phase-transition" in flag for flag in _flags(export, tmp_path / "even", "even"))


def test_the_cache_is_named_by_what_the_blend_reads(export: Callable[..., list[str]], tmp_path: Path) -> None:
    caches = {
        name: next(flag.rpartition("/")[2] for flag in _flags(export, tmp_path / name, mixture) if "data-cache" in flag)
        for name, mixture in (("one", "even"), ("two", "even"), ("three", "turning"))
    }
    assert caches["one"] == caches["two"] != caches["three"]


def test_a_draw_is_the_dataset_of_its_source(export: Callable[..., list[str]], tmp_path: Path) -> None:
    draw = Draw("a", "k", "draw/k/a", 3, 30, "b" * 64, "c" * 64, "draw/k/a.parquet", "d" * 64, 40, 400)
    draws = {"a": draw, "b": dataclasses.replace(draw, source="b", prefix="draw/k/b")}
    export("even", tmp_path / "out", draws=draws)
    words = (tmp_path / "out" / "data-args.txt").read_text().split()
    assert words == ["60", f"{tmp_path}/store/draw/k/a", "20", f"{tmp_path}/store/draw/k/b"]
    assert "The datasets are the draws of the proxy's runs" in (tmp_path / "out" / "README.md").read_text()


def _flags(export: Callable[..., list[str]], folder: Path, mixture: str) -> list[str]:
    export(mixture, folder)
    return (folder / "args.txt").read_text().splitlines()


def test_a_path_that_megatron_would_cut_is_refused(export: Callable[..., list[str]], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="splits its data arguments at white space"):
        export("even", tmp_path / "out", place="my store")
    assert not (tmp_path / "out").exists()


def test_stock_blending_is_counted_by_its_own_function() -> None:
    # a source with a share of .0005 never has its turn in ten samples, and nothing says so
    blend = StockBlend(("a", "b", "c"), (Fraction("7"), Fraction("2.995"), Fraction("0.005")), ("a", "b", "c"))
    counts = stock_samples(blend, 10)
    assert counts == {"a": 7, "b": 3, "c": 0}
    assert stock_samples(blend, 2000)["c"] == 1
    assert stock_samples(StockBlend(("a", "b"), (Fraction(3), Fraction(1)), ("x", "x")), 8) == {"x": 8}


def test_phases_that_stock_megatron_cannot_train_are_refused_by_name(
    export: Callable[..., list[str]], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"longer.phases\[1\].sequence_length: stock Megatron-LM cannot change"):
        export("longer", tmp_path / "longer")
    with pytest.raises(RequestError, match=r"phases\[1\].min_tokens: Megatron-LM cannot choose .* add `--draw`"):
        export("long_documents", tmp_path / "long_documents", place="other")
    assert not (tmp_path / "longer").exists() and not (tmp_path / "long_documents").exists()
    export("rotated", tmp_path / "rotated", place="third")
    bases = [
        [flag for flag in (tmp_path / "rotated" / name).read_text().splitlines() if "rotary-base" in flag]
        for name in ("args.txt", "args-phase-2.txt")
    ]
    assert bases == [["--rotary-base 10000"], ["--rotary-base 500000"]]
