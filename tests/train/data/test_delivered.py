"""Delivered: the replay of a saved index, and every way in which it must not close."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDataset

from mixproof.ledger.errors import AccountError, DamagedFileError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.train.data.blend import Blend
from mixproof.train.data.delivered import delivered, spans_of
from mixproof.train.data.draw import DrawSize, make_draw
from mixproof.train.data.streams import Stream
from mixproof.train.record import MasksRecord

Make = Callable[..., Any]
Documents = Callable[..., list[list[int]]]
LENGTH = 16


@dataclass(frozen=True)
class Saved:
    """A blend and its saved index."""

    blend: Blend
    streams: dict[str, Stream]
    folder: Path
    files: dict[str, str]
    corpus: Any


@pytest.fixture
def saved(make_corpus: Make, documents: Documents, make_budget: Make, tmp_path: Path) -> Saved:
    """Two phases over three sources; b is read more than twice over, EODs are masked."""
    corpus = make_corpus({"a": documents(1, 100, 60), "b": documents(2, 14, 30), "c": documents(3, 30, 60)})
    masks = MasksRecord(document_mask=False, eod_mask_loss=True, reset_position_ids=False)
    streams = {}
    for source, need in (("a", 1000), ("b", 10**9), ("c", 10**9)):
        draw = make_draw(corpus.store, corpus.manifest, DrawSize(source, need))
        prefix = corpus.store.path(draw.prefix)
        streams[source] = Stream(prefix, draw, seed=5, sequence_length=LENGTH, masks=masks, eod_id=2, vocab_size=1000)
    blend = Blend(streams, make_budget(LENGTH, {"a": 30, "b": 15}, {"b": 25, "c": 12, "a": 3}))
    return Saved(blend, streams, tmp_path / "index", blend.save_index(tmp_path / "index"), corpus)


@pytest.mark.parametrize("consumed", [0, 1, 20, 45, 46, 85])
def test_the_replay_counts_what_the_blend_handed_out(saved: Saved, consumed: int) -> None:
    samples = [saved.blend[i] for i in range(consumed)]
    names = [saved.blend.sources[int(sample["source"])] for sample in samples]
    targets: Counter[str] = Counter()
    for name, sample in zip(names, samples, strict=True):
        targets[name] += int(sample["loss_mask"].sum())  # type: ignore[union-attr]
    found = delivered(saved.folder, consumed)
    assert list(found) == ["a", "b", "c"]
    assert {name: d.samples for name, d in found.items()} == {name: names.count(name) for name in found}
    assert {name: d.targets for name, d in found.items()} == {name: targets[name] for name in found}
    assert all(d.tokens == d.samples * LENGTH >= d.targets for d in found.values())
    assert sum(d.samples for d in found.values()) == consumed


def test_epochs_are_passes_over_the_source_and_unique_tokens_those_of_the_draw(saved: Saved) -> None:
    found = delivered(saved.folder, 85)
    windows = saved.streams["b"].windows
    assert found["b"].epochs == 40 / windows > 2
    assert found["b"].unique_tokens == windows * LENGTH
    draw = saved.streams["a"].draw
    assert draw.tokens < draw.dataset_tokens
    assert found["a"].epochs == 33 / ((draw.dataset_tokens - 1) // LENGTH) < 33 / saved.streams["a"].windows
    assert found["a"].unique_tokens == found["a"].tokens == 33 * LENGTH


def test_the_index_is_replayed_after_it_has_moved_and_the_store_is_gone(saved: Saved, tmp_path: Path) -> None:
    before = delivered(saved.folder, 60)
    moved = shutil.move(saved.folder, tmp_path / "elsewhere")
    shutil.rmtree(saved.corpus.store.root)
    assert delivered(Path(moved), 60) == before


def test_the_replay_needs_neither_megatron_nor_torch(saved: Saved) -> None:
    code = (
        "import sys; from pathlib import Path; from mixproof.train.data.delivered import delivered\n"
        f"print(delivered(Path({str(saved.folder)!r}), 60)['b'].samples)\n"
        "print(sorted({'torch', 'megatron'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert done.stdout.decode().split("\n")[:2] == [str(delivered(saved.folder, 60)["b"].samples), "[]"]


def test_an_index_is_the_same_bytes_when_it_is_saved_again(saved: Saved, tmp_path: Path) -> None:
    assert saved.blend.save_index(tmp_path / "again") == saved.files
    assert saved.blend.save_index(saved.folder) == saved.files
    assert {path.name: sha256_of_file(path) for path in saved.folder.iterdir()} == saved.files


def test_every_sample_is_traced_to_the_tokens_of_its_documents(saved: Saved) -> None:
    for i in range(len(saved.blend)):
        source, epoch, spans = spans_of(saved.folder, i)
        assert (source, epoch) == saved.blend.locate(i)[:2]
        dataset = IndexedDataset(str(saved.corpus.store.path(saved.streams[source].draw.prefix)))
        tokens = np.concatenate([dataset.get(s.document, offset=s.first_token, length=s.tokens) for s in spans])
        sample = saved.blend[i]
        assert tokens[:-1].tolist() == sample["tokens"].tolist()  # type: ignore[union-attr]
        assert tokens[1:].tolist() == sample["labels"].tolist()  # type: ignore[union-attr]
    with pytest.raises(IndexError):
        spans_of(saved.folder, 85)


def test_a_run_that_consumed_more_than_was_dealt_breaks_e9(saved: Saved) -> None:
    with pytest.raises(AccountError, match="E9 does not close .stage train.: expected at most 85 samples, found 86"):
        delivered(saved.folder, 86)


def change(folder: Path, name: str, place: Any, value: int) -> None:  # noqa: ANN401  an index of numpy
    array = np.load(folder / name)
    array[place] = value
    np.save(folder / name, array)


def test_a_window_that_is_dealt_to_another_source_breaks_e8(saved: Saved) -> None:
    name = "phase-001-dataset_index.npy"
    change(saved.folder, name, int(np.argmax(np.load(saved.folder / name) == 2)), 0)
    with pytest.raises(AccountError, match="E8 does not close .stage blend, shard phase 1"):
        delivered(saved.folder, 10)


def test_a_window_that_is_read_twice_breaks_e8_or_e7(saved: Saved) -> None:
    name = "phase-000-dataset_sample_index.npy"
    whole = np.load(saved.folder / name)
    change(saved.folder, name, 40, int(whole[40]) - 1)
    with pytest.raises(AccountError, match="E8 .*windows in order, each once"):
        delivered(saved.folder, 10)
    np.save(saved.folder / name, whole)
    change(saved.folder, "stream-001-epoch-0001-shuffle_index.npy", 0, 1)
    with pytest.raises(AccountError, match="E7 does not close .source b, stage stream, shard epoch 1"):
        delivered(saved.folder, 10)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("stream-000-lengths.npy", 0, 1000),
        ("stream-000-epoch-0000-document_index.npy", 0, 1),
        ("stream-000-epoch-0000-sample_index.npy", (2, 1), 0),
    ],
)
def test_other_windows_than_those_of_the_draw_break_e7(saved: Saved, name: str, place: Any, value: int) -> None:  # noqa: ANN401
    array = np.load(saved.folder / name)
    change(saved.folder, name, place, value if array[place] != value else value + 1)
    with pytest.raises(AccountError, match="E7 does not close .source a"):
        delivered(saved.folder, 10)


def test_phases_that_read_a_stream_again_break_e8(saved: Saved) -> None:
    path = saved.folder / "index.json"
    record = json.loads(path.read_bytes())
    record["phases"][1]["first_windows"][1] = 0
    path.write_text(json.dumps(record))
    with pytest.raises(AccountError, match="E8 does not close .source b, .*expected window 15 next, found window 0"):
        delivered(saved.folder, 10)


def test_a_missing_or_truncated_array_is_named(saved: Saved) -> None:
    path = saved.folder / "stream-002-epoch-0000-shuffle_index.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="stream-002-epoch-0000-shuffle_index.npy"):
        delivered(saved.folder, 10)
    path.unlink()
    with pytest.raises(DamagedFileError, match="stream-002-epoch-0000-shuffle_index.npy"):
        delivered(saved.folder, 10)
    (saved.folder / "index.json").unlink()
    with pytest.raises(DamagedFileError, match="index.json.*missing"):
        delivered(saved.folder, 10)
