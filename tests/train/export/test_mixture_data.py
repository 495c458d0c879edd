"""Exports for other trainers hold every training document of a mixture once, as the build or a proxy's runs have it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.export.export_mixture import export_mixture
from mixproof.train.export.mixture_data import SourceData
from mixproof.train.export.to_datasets import DATASETS
from mixproof.train.export.to_mds import MDS
from mixproof.train.export.to_olmo import OLMO

EOD = 2
NAMES = ("half", "nano")
Export = Callable[..., list[SourceData]]
Ids = list[list[int]]
export_olmo, export_mds, export_datasets = (partial(export_mixture, form) for form in (OLMO, MDS, DATASETS))
EXPORTS: list[Export] = [export_olmo, export_mds, export_datasets]


@pytest.fixture(params=[1000, 70_000], ids=["uint16", "int32"])
def texts(request: pytest.FixtureRequest, documents: Callable[..., Ids]) -> tuple[int, dict[str, Ids]]:
    """A vocabulary size, and documents of two sources."""
    size: int = request.param
    return size, {"a": documents(1, 9, 12, size), "b": documents(2, 4, 300, size)}


@pytest.fixture
def corpus(make_corpus: Callable[..., Any], texts: tuple[int, dict[str, Ids]]) -> Any:  # noqa: ANN401  of the conftest
    return make_corpus(texts[1], parts=2, vocab_size=texts[0])


@pytest.fixture
def budget(make_budget: Callable[..., RunBudget]) -> RunBudget:
    return make_budget(8, {"a": 30, "b": 10})


def read_olmo(folder: Path, source: str) -> dict[str, list[int]]:
    """Ids of each document by its id, by the lines of the `.csv.gz`."""
    statement = json.loads((folder / "mixture.json").read_bytes())
    dtype = {"uint16": np.uint16, "int32": np.uint32}[statement["dtype"]]
    found = {}
    for name in statement["sources"][source]["files"]:
        ids = np.memmap(folder / name, dtype, mode="r")
        lines = gzip.open((folder / name).with_suffix(".csv.gz"), "rt").read().splitlines()  # noqa: SIM115
        for line in lines:
            start, end, id_, *_ = line.split(",")
            found[id_] = ids[int(start) : int(end)].tolist()
        assert sum(int(line.split(",")[1]) - int(line.split(",")[0]) for line in lines) == len(ids)
    return found


def read_mds(folder: Path, source: str) -> dict[str, list[int]]:
    """Ids of each document by its id, by the bytes of the shards."""
    found = {}
    for shard in json.loads((folder / source / "index.json").read_bytes())["shards"]:
        data = (folder / source / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        assert int.from_bytes(data[:4], "little") == shard["samples"]
        offsets = np.frombuffer(data, np.uint32, shard["samples"] + 1, 4).tolist()
        assert offsets[-1] == len(data)
        for start, end in pairwise(offsets):
            file, id_, tokens = np.frombuffer(data, np.uint32, 3, start).tolist()
            at = start + 12 + file
            name = data[at : at + id_].decode()
            array = data[at + id_ + 8 : end]
            assert len(array) == tokens
            width = 1 << (array[0] & 3)
            found[name] = np.frombuffer(array, np.int32, offset=1 + width).tolist()
            assert int.from_bytes(array[1 : 1 + width], "little") == len(found[name])
    return found


def read_datasets(folder: Path, source: str) -> dict[str, list[int]]:
    """Ids of each document by its id."""
    tables = [pq.read_table(path) for path in sorted((folder / source).glob("*.parquet"))]
    return {row["id"]: row["input_ids"] for table in tables for row in table.to_pylist()}


READERS: dict[Export, Callable[[Path, str], dict[str, list[int]]]] = {
    export_olmo: read_olmo,
    export_mds: read_mds,
    export_datasets: read_datasets,
}


@pytest.mark.parametrize("export", EXPORTS)
def test_every_document_of_every_part_is_there_once_with_its_id_and_eod(
    export: Export,
    corpus: Any,  # noqa: ANN401  of the conftest
    budget: RunBudget,
    texts: tuple[int, dict[str, Ids]],
    tmp_path: Path,
) -> None:
    data = export(corpus.manifest, corpus.store, NAMES, budget, tmp_path / "out", str(tmp_path / "out"))
    for source, documents in texts[1].items():
        expected = {f"{source}-train#{number}": [*ids, EOD] for number, ids in enumerate(documents)}
        assert READERS[export](tmp_path / "out", source) == expected
    assert [(source.name, source.documents) for source in data] == [("a", 9), ("b", 4)]
    statement = json.loads((tmp_path / "out" / "mixture.json").read_bytes())
    assert statement["phases"] == [{"samples": 40, "shares": {"a": 0.75, "b": 0.25}}]
    assert {name: source["tokens"] for name, source in statement["sources"].items()} == {
        name: sum(len(ids) + 1 for ids in documents) for name, documents in texts[1].items()
    }


@pytest.mark.parametrize("export", EXPORTS)
def test_the_draw_of_a_proxy_is_exported_as_its_runs_read_it(
    export: Export,
    corpus: Any,  # noqa: ANN401  of the conftest
    budget: RunBudget,
    tmp_path: Path,
) -> None:
    draws = {name: make_draw(corpus.store, corpus.manifest, DrawSize(name, 20)) for name in ("a", "b")}
    assert draws["a"].documents < 9
    export(corpus.manifest, corpus.store, NAMES, budget, tmp_path / "out", str(tmp_path / "out"), draws)
    found = READERS[export](tmp_path / "out", "a")
    assert (len(found), sum(map(len, found.values()))) == (draws["a"].documents, draws["a"].tokens)
    assert json.loads((tmp_path / "out" / "mixture.json").read_bytes())["documents"] == "draw"


@pytest.mark.parametrize("export", EXPORTS)
def test_a_damaged_part_is_named_and_nothing_is_written(
    export: Export,
    corpus: Any,  # noqa: ANN401  of the conftest
    budget: RunBudget,
    tmp_path: Path,
) -> None:
    part = corpus.manifest.sources["b"].train.datasets[1]
    path = corpus.store.path(f"{part.prefix}.bin")
    path.write_bytes(path.read_bytes()[:-2] + b"\xff\x00")
    with pytest.raises(DamagedFileError, match=rf"{part.prefix}\.bin: whole file: SHA-256 is"):
        export(corpus.manifest, corpus.store, NAMES, budget, tmp_path / "out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("export", EXPORTS)
def test_a_folder_that_holds_something_is_refused(
    export: Export,
    corpus: Any,  # noqa: ANN401  of the conftest
    budget: RunBudget,
    tmp_path: Path,
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(RequestError, match="out"):
        export(corpus.manifest, corpus.store, NAMES, budget, tmp_path / "out", str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_olmo_gets_the_share_and_the_passes_of_each_source_by_phase(
    corpus: Any,  # noqa: ANN401  of the conftest
    make_budget: Callable[..., RunBudget],
    tmp_path: Path,
) -> None:
    export_olmo(
        corpus.manifest,
        corpus.store,
        NAMES,
        make_budget(8, {"a": 30, "b": 10}, {"a": 4}),
        tmp_path / "out",
        str(tmp_path / "out"),
    )
    first, second = (
        yaml.safe_load((tmp_path / "out" / f"source-mixture-phase-{number}.yaml").read_text())["sources"]
        for number in (1, 2)
    )
    tokens = corpus.manifest.sources["a"].train.tokens
    assert [(one["source_name"], one["target_ratio"]) for one in first] == [("a", 0.75), ("b", 0.25)]
    assert first[0]["max_repetition_ratio"] == -(-30 * 8 // tokens)
    assert [(one["source_name"], one["target_ratio"], one["max_repetition_ratio"]) for one in second] == [("a", 1.0, 1)]
    assert all(Path(path).is_file() for one in (*first, *second) for path in one["paths"])
