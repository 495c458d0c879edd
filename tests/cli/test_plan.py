"""`mixproof plan` by hand: what it counts, what it would reuse, and the rates that it takes from a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from conftest import SPEC, write_experiment
from mixproof.cli.commands.plan import make_plan
from mixproof.cli.machine.measured import cache_path, recall, remember
from mixproof.cli.output import amount, emit_json, hours, stdout, table
from mixproof.cli.plan_cost import Prices, disk_line, measured_rates
from mixproof.cli.plan_report import plan_json, print_plan
from mixproof.cli.request import open_request
from mixproof.ledger.manifest import Manifest, write_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import SemanticDedup
from mixproof.pipeline.inputs.files import InputFile
from mixproof.tokenize.measure import measure_documents
from mixproof.train.launch.cost import ASSUMED, document_rate
from mixproof.train.launch.disk import build_bytes, dataset_bytes
from mixproof.train.launch.measure import measure_training
from mixproof.train.proxies import PROXIES


def test_before_a_build_tokens_are_estimates_and_gpu_hours_an_assumption_that_says_so(tmp_path: Path) -> None:
    spec = write_experiment(tmp_path, SPEC.replace("seeds: [1, 2]", "seeds: [1, 2, 3]"))
    planned = make_plan(open_request(spec, str(tmp_path / "store")))
    found = plan_json(planned)
    assert found["built"] is False
    assert (found["runs_finished"], found["runs_to_train"]) == (0, 6)
    (cost,) = planned.costs
    # 5,120 tokens are ten whole steps of 8 x 64; two mixtures, three seeds
    assert (cost.proxy, cost.runs, cost.tokens) == ("nano", 6, 6 * 5_120)
    assert cost.rate.source == ASSUMED and cost.rate.device == "cuda"
    assert cost.hours == pytest.approx(cost.flops / (0.4 * 989e12) / 3600)
    # nano at 1,200 pieces: 3,625,024 - 30,800 x 64 weights, 12 bytes each, one checkpoint a run
    assert planned.bytes_to_store["checkpoints"] == 6 * 12 * (3_625_024 - 30_800 * 64)
    assert planned.bytes_to_store["datasets"] == 2 * sum(planned.tokens_of.values())
    assert planned.documents is None


def test_a_plan_fits_a_terminal_of_80_columns_with_whole_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_experiment(tmp_path)
    monkeypatch.setattr(stdout, "_width", 80)
    print_plan(make_plan(open_request(spec, str(tmp_path / "store"))))
    shown = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in shown.splitlines() if "assumed" not in line) <= 80
    for word in ("mostly_code", "declared", "5,120", "80.00%", "unknown"):
        assert word in shown
    sentence = (
        "nano: 5,120 tokens declared; 10 steps of 8 × 64 = 5,120 planned (+0.00%), with 1 for warm-up and 2 for decay"
    )
    assert sentence in " ".join(shown.split())


def test_the_rate_of_documents_is_that_of_the_largest_build_that_did_all_of_its_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert document_rate(store) is None
    for size, seconds, reused in ((1_000, 1.0, 0), (8_000_000, 4.0, 0), (9_000_000, 0.1, 3)):
        path = write_manifest(store, _manifest(size))
        circumstances = {
            "seconds": {"read": seconds / 2, "encode": seconds / 2},
            "machine": {"processors": 2},
            "stages_reused": reused,
        }
        path.with_name("circumstances.json").write_text(json.dumps(circumstances))
    rate = document_rate(store)
    assert rate is not None
    assert rate.amount == 1_000_000  # 8 MB in 4 s on 2 processors
    assert rate.source.startswith("measured: build ")


def test_disk_space_is_that_of_texts_tokens_twice_signatures_index_draws_and_checkpoints(tmp_path: Path) -> None:
    text = SPEC.replace("{exact: true,", "{exact: true, fuzzy: {bands: 24, rows: 8},")
    spec = write_experiment(tmp_path, text)
    planned = make_plan(open_request(spec, str(tmp_path / "store")))
    tokens = sum(planned.tokens_of.values())
    documents = 4 * tokens // 4_000  # four bytes a token, 4,000 bytes a document
    found = planned.bytes_to_store
    assert found["datasets"] == 2 * tokens
    assert found["encoded shards"] == 2 * tokens + 70 * documents
    assert found["signatures"] == documents * 24 * (8 * 2 + 8 + 4)
    assert found["overlap index"] == 38 * 4 * 4_000  # 4K tokens of each of four sources
    assert found["texts"] == int(0.35 * 4 * tokens)
    whole = disk_line(found)
    assert whole.startswith("disk space: about ") and "of checkpoints" in whole and whole.endswith(" of other files")
    loaded = planned.request.spec
    assert loaded.dedup is not None
    alike = loaded.model_copy(update={"dedup": loaded.dedup.model_copy(update={"semantic": SemanticDedup()})})
    embedded = build_bytes(alike, planned.tokens_of, 1_200, {})
    assert embedded["signatures"] == found["signatures"] + documents * (256 * 2 + 3 * 8)
    open_sets = loaded.model_copy(update={"decontaminate": False})
    assert build_bytes(open_sets, planned.tokens_of, 1_200, {})["overlap index"] == 0
    large = InputFile("s", "a.jsonl.gz", "/a.jsonl.gz", 10**9, 0, "jsonl", "gz")
    assert build_bytes(loaded, planned.tokens_of, 1_200, {"s": (large,), "part": (large,)}) == {
        **build_bytes(loaded, planned.tokens_of, 1_200, {}), "pieces of large compressed files": 10**9
    }  # fmt: skip


def test_a_measured_machine_takes_the_place_of_the_assumption_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    request = open_request(write_experiment(tmp_path), str(tmp_path / "store"))
    assert measured_rates(request, 1_200, measure=False).documents is None
    documents = measure_documents(request.loaded, request.files())
    assert documents is not None and documents > 1_000
    remember(request.spec, 1_200, documents, {"nano": (1_000.0, "cpu")}, cache_path())
    planned = make_plan(request)
    (cost,) = planned.costs
    assert planned.documents is not None and planned.documents.amount == documents
    assert planned.documents.source.startswith("measured on this machine on 20")
    assert (cost.rate.amount, cost.rate.device) == (1_000.0, "cpu")
    assert cost.hours == 4 * 5_120 / 1_000 / 3600  # two mixtures, two seeds
    assert recall(request.spec, 2_400, cache_path()) is None, "another vocabulary has another speed"
    assert planned.core_hours is not None
    prices = Prices(cpu_hour=36.0)
    total = prices.total(planned.core_hours, planned.costs)
    assert total == pytest.approx(36 * (planned.core_hours + cost.hours))
    assert plan_json(planned, prices)["cost"]["price"] == total  # type: ignore[index]
    assert f"cost: about {total:,.2f} (" in prices.line(planned.core_hours, planned.costs)
    assert not (tmp_path / "store").exists()


def test_training_is_measured_on_a_few_layers_of_the_proxy() -> None:
    speed, device = measure_training(PROXIES["nano"], 1_200, 64, threads=1, seconds=0.1)
    assert device in ("cpu", "cuda") and speed > 1


def test_ids_take_two_bytes_below_a_vocabulary_of_65500_and_four_from_there() -> None:
    assert dataset_bytes(10, 65_499) == 20
    assert dataset_bytes(10, 65_500) == 40


def test_numbers_are_as_precise_as_estimates_are() -> None:
    assert [amount(value) for value in (12, 1_234, 5.6e13)] == ["12 ", "1.23 K", "56 T"]
    assert [hours(value) for value in (0.0123, 3.21, 1234.5)] == ["0.012", "3.2", "1,234"]


def test_a_table_keeps_numbers_whole_and_folds_long_names_only() -> None:
    built = table("T", ("name of it", "planned tokens"), [("a" * 40, "1,234,567,890")])
    name, tokens = built.columns
    assert (name.min_width, tokens.min_width) == (26, 13)
    first, second, _ = table("T", ("name", "other name", "tokens"), [("a" * 40, "b" * 40, "1")], text_columns=2).columns
    assert (first.min_width, second.min_width) == (12, 12)


def test_a_table_too_wide_for_a_terminal_continues_below_with_its_names_repeated() -> None:
    columns = ("source", *(f"column {number}" for number in range(8)))
    built = table("Wide", columns, [("a_source_name", *("1,234,567,890",) * 8)])
    console = Console(width=80)
    with console.capture() as capture:
        console.print(built)
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= 80
    assert (shown.count("a_source_name"), shown.count("1,234,567,890"), shown.count("Wide")) == (2, 8, 1)
    wide = Console(width=160)
    with wide.capture() as capture:
        wide.print(built)
    assert capture.get().count("a_source_name") == 1


def _manifest(size: int) -> Manifest:
    """A build of one source with `size` bytes of files and nothing else."""
    side = {"documents": 0, "tokens": 0, "eod_tokens": 0, "bytes": 0, "datasets": []}
    inputs = {"path": "read/x/inputs.parquet", "sha256": "0", "files": 1, "records": 0, "bytes": size}
    return Manifest.model_validate(
        {
            "schema": 1,
            "mixproof": "0.1.0",
            "spec": {},
            "spec_sha256": "0",
            "tokenizer": {"kind": "sentencepiece", "path": "t", "sha256": "0", "vocab_size": 10, "eod_id": 2},
            "sources": {"web": {"inputs": inputs, "train": side, "heldout": side, "ledger": []}},
            "dedup_matrix": [],
            "totals": {"documents": 0, "tokens": 0, "bytes": 0},
        }
    )


def test_operations_beyond_64_bits_are_json_as_well(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    emit_json({"flops": 2**70, "name": "é"})
    assert json.loads(capfdbinary.readouterr().out) == {"flops": 2**70, "name": "é"}
