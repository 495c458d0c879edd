"""A trial of steps says why a language has no words, in what would have to be done."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import orjson
import pytest

from in_process import InProcess
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Source, Step
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read import trial

TEXTS = [f"བོད་སྐད་ནི་བོད་མིའི་སྐད་ཡིག་ཡིན། འདི་ནི་ཡིག་གྲངས་{number}པ་ཡིན།" for number in range(30)]


def try_gopher(make_spec: Callable[..., Spec], folder: Path, rate: Fraction = Fraction(1)) -> trial.StepTrial:
    (folder / "a.jsonl").write_bytes(b"\n".join(orjson.dumps({"text": text}) for text in TEXTS))
    steps = (Step(name="language", options={"label_only": True}), Step(name="gopher_quality"))
    spec = make_spec({"tibetan": Source(files=("a.jsonl",), steps=steps)})
    found = find_files(spec, folder)
    return trial.try_steps(spec, found, Store(folder / "store"), InProcess(), rate, samples=1)["tibetan"]


def test_a_language_without_words_is_doubted_with_its_reason(make_spec: Callable[..., Spec], tmp_path: Path) -> None:
    tried = try_gopher(make_spec, tmp_path)
    assert (tried.tried.documents, tried.kept.documents) == (30, 0)
    doubt, nothing = tried.doubts
    assert nothing == "none of the 30 documents tried is left"
    assert doubt.startswith("gopher_quality drops 30 of 30 documents as no_words_bo: no word tokenizer for 'bo': ")
    assert list(tried.samples) == [("gopher_quality", "no_words_bo")]


def test_words_that_only_the_workers_lack_are_said_to_be_theirs(
    make_spec: Callable[..., Spec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = try_gopher(make_spec, tmp_path)
    assert "the workers lack" not in tried.doubts[0]
    monkeypatch.setattr(trial, "splitter_of", lambda _: None)  # as where the package was installed since
    tried = try_gopher(make_spec, tmp_path)
    assert tried.doubts[0].endswith("as no_words_bo: a package that is installed here is missing on the workers")


def test_a_share_is_of_the_documents_and_the_same_ones_each_time(
    make_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    first = try_gopher(make_spec, tmp_path, Fraction(1, 3))
    assert 0 < first.tried.documents < 30
    assert try_gopher(make_spec, tmp_path, Fraction(1, 3)) == first


def test_rejected_records_are_shown_with_their_places(make_spec: Callable[..., Spec], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_bytes(b'{"text": "a"}\n{broken\n\n{"text": 7}\n{broken too\n')
    spec = make_spec({"s": Source(files=("*.jsonl",))})
    tried = trial.try_steps(spec, find_files(spec, tmp_path), Store(tmp_path / "store"), InProcess(), Fraction(1), 3)
    assert dict(tried["s"].rejected) == {"blank_line": 2, "invalid_json": 4, "text_not_string": 2}
    shown = {
        reason: [(one.file, one.record, one.text) for one in found] for reason, found in tried["s"].rejects.items()
    }
    assert shown["invalid_json"] == [
        ("a.jsonl", 1, "{broken"),
        ("a.jsonl", 4, "{broken too"),
        ("b.jsonl", 1, "{broken"),
    ]
    assert shown["text_not_string"] == [("a.jsonl", 3, '{"text": 7}'), ("b.jsonl", 3, '{"text": 7}')]
    none = trial.try_steps(spec, find_files(spec, tmp_path), Store(tmp_path / "store"), InProcess(), Fraction(1), 0)
    assert none["s"].rejects == {"blank_line": (), "invalid_json": (), "text_not_string": ()}
