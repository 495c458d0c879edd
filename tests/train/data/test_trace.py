"""Trace of a run that was really trained: every window is found again in the draw, from both ends."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.store import Store
from mixproof.tokenize.tokenizer.sentencepiece import load_processor
from mixproof.train.data.streams import Stream
from mixproof.train.data.trace import trace_document, trace_step
from mixproof.train.loop.run import train_run
from mixproof.train.record import read_run, run_folder
from mixproof.train.request import RunRequest

MakeRequest = Callable[..., RunRequest]
LENGTH = 32


@pytest.fixture
def request_and_run(make_request: MakeRequest, tmp_path: Path) -> tuple[RunRequest, Path]:
    """A finished run of 8 steps of 4 samples, in a store that has moved since."""
    request = make_request()
    train_run(request)
    shutil.move(request.store, tmp_path / "moved")
    return request, run_folder(Store(tmp_path / "moved"), request.key)


def test_a_step_names_the_documents_whose_tokens_the_model_got(request_and_run: tuple[RunRequest, Path]) -> None:
    request, run = request_and_run
    root = run.parents[1]
    processor = load_processor(str(root / request.tokenizer.path))
    read: Counter[str] = Counter()
    streams = {
        source: Stream(
            root / draw.prefix,
            draw,
            seed=request.seed,
            sequence_length=LENGTH,
            masks=request.masks,
            eod_id=request.tokenizer.eod_id,
            vocab_size=request.tokenizer.vocab_size,
        )
        for source, draw in request.draws.items()
    }
    for step in range(1, 9):
        traced = trace_step(run, step)
        assert [sample.sample for sample in traced.samples] == list(range(4 * step - 4, 4 * step))
        for sample in traced.samples:
            window = streams[sample.source].sample(read[sample.source])
            ids = [*np.asarray(window["tokens"]).tolist(), int(np.asarray(window["labels"])[-1])]
            read[sample.source] += 1
            first = 0
            for piece in sample.pieces:
                own = [token for token in ids[first : first + piece.tokens] if token != request.tokenizer.eod_id]
                assert piece.text == processor.decode(own)
                first += piece.tokens
            assert first == LENGTH + 1
    assert read == {"guide": 8, "manual": 24}


def test_one_sample_of_a_step_and_whole_documents(request_and_run: tuple[RunRequest, Path]) -> None:
    _, run = request_and_run
    (sample,) = trace_step(run, 3, 2).samples
    assert sample == trace_step(run / "run.json", 3).samples[2]
    (whole,) = trace_step(run, 3, 2, whole=True).samples
    for piece, document in zip(sample.pieces, whole.pieces, strict=True):
        assert (piece.document, piece.first_token) == (document.document, document.first_token)
        assert piece.text is not None and document.text is not None
        assert piece.text.strip(" ⁇") in document.text


def test_a_document_is_seen_where_the_steps_say_and_as_often(request_and_run: tuple[RunRequest, Path]) -> None:
    _, run = request_and_run
    expected: dict[str, set[tuple[int, int, int, int]]] = {}
    for step in range(1, 9):
        for sample in trace_step(run, step).samples:
            for piece in sample.pieces:
                where = (step, sample.sample, piece.first_token, piece.tokens)
                expected.setdefault(f"{sample.source}/{piece.document.id}", set()).add(where)
    targets = 0
    for name, places in expected.items():
        found = [
            d for d in trace_document(run, name.split("/")[1]).documents if d.document.source == name.split("/")[0]
        ]
        assert len(found) == 1
        seen = {(s.step, s.sample, s.first_token, s.tokens) for s in found[0].sightings}
        assert seen == places
        assert found[0].passes == len({s.epoch for s in found[0].sightings}) >= 1
        targets += found[0].targets
    assert targets == read_run(run / "run.json").consumed_tokens == 32 * LENGTH


def test_documents_that_were_not_read_say_so_and_unknown_ones_are_refused(
    request_and_run: tuple[RunRequest, Path],
) -> None:
    _, run = request_and_run
    (held,) = trace_document(run, "manual-heldout#0").documents
    assert (held.where, held.passes, held.targets, held.sightings) == ("held out", 0, 0, ())
    with pytest.raises(RequestError, match="--document nothing: neither"):
        trace_document(run, "nothing")


@pytest.mark.parametrize(
    ("step", "sample", "what"),
    [(0, None, "steps 1 to 8"), (9, None, "steps 1 to 8"), (1, 4, "samples 0 to 3"), (1, -1, "samples 0 to 3")],
)
def test_a_step_or_sample_that_the_run_has_not_is_refused(
    request_and_run: tuple[RunRequest, Path], step: int, sample: int | None, what: str
) -> None:
    with pytest.raises(RequestError, match=what):
        trace_step(request_and_run[1], step, sample)


def test_without_its_tokenizer_a_run_names_documents_and_without_its_draw_what_is_missing(
    request_and_run: tuple[RunRequest, Path],
) -> None:
    request, run = request_and_run
    before: Any = trace_step(run, 1, 0)
    (run.parents[1] / request.tokenizer.path).unlink()
    after = trace_step(run, 1, 0)
    assert after.text_is is None
    assert [p.text for p in after.samples[0].pieces] == [None] * len(before.samples[0].pieces)
    assert [p.document for p in after.samples[0].pieces] == [p.document for p in before.samples[0].pieces]
    shutil.rmtree(run.parents[1] / "draw")
    with pytest.raises(DamagedFileError, match=r"\.parquet"):
        trace_step(run, 1, 0)
