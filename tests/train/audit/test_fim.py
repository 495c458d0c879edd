"""Runs with fill-in-the-middle from their start to their audit, in every kind of window."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixproof.ledger.store import Store
from mixproof.train.audit.run import audit_run
from mixproof.train.data.trace import trace_document, trace_step
from mixproof.train.data.window_use import window_use
from mixproof.train.delivered_record import FimRecord
from mixproof.train.loop.run import train_run
from mixproof.train.record import MasksRecord, RunRecord, run_folder
from mixproof.train.request import RunRequest

from .test_packs import replace_array

MakeRequest = Callable[..., RunRequest]
PLAIN = MasksRecord(document_mask=False, eod_mask_loss=False, reset_position_ids=False)
PACKED = MasksRecord(document_mask=True, eod_mask_loss=False, reset_position_ids=True, best_fit=True)
MODES = [(PLAIN, "document"), (PACKED, "document"), (PACKED, "piece")]


def with_fim(request: RunRequest, masks: MasksRecord, unit: str, rate: str = "3/4") -> RunRequest:
    fim = FimRecord.model_validate({"rate": rate, "spm_rate": "1/2", "unit": unit, "sentinels": (597, 598, 599)})
    return request.model_copy(update={"masks": masks, "fim": {"manual": fim}})


def folder_of(request: RunRequest) -> Path:
    return run_folder(Store(request.store), request.key)


@pytest.mark.parametrize(("masks", "unit"), MODES)
def test_a_run_is_clean_counts_what_it_transformed_and_resumes_bit_for_bit(
    make_request: MakeRequest, masks: MasksRecord, unit: str
) -> None:
    request = with_fim(make_request(steps=12, checkpoint_steps=8), masks, unit)
    record = train_run(request)
    folder = folder_of(request)
    assert audit_run(folder).failures == ()
    _check_counts(folder, record)
    for name in ("run.json", "receipt.json", "scores.parquet"):
        (folder / name).unlink()
    for path in folder.glob("checkpoints/iter_*48"):
        shutil.rmtree(path)
    assert train_run(request) == record
    name = "stream-001-epoch-0000-fim.npy"
    replace_array(folder, name, lambda array: array + (np.arange(len(array)) == 0)[:, None].astype(np.int32))
    assert {failure.equation for failure in audit_run(folder).failures} & {"E7", "E9"}


def _check_counts(folder: Path, record: RunRecord) -> None:
    """Check the account against a trace of every step."""
    fim = record.delivered["manual"].fim
    assert fim is not None and record.delivered["guide"].fim is None
    tokens, documents = Counter[str](), Counter[str]()
    for step in range(1, record.steps + 1):
        for sample in trace_step(folder, step).samples:
            for number, piece in enumerate(sample.pieces):
                assert (piece.fim is None) == (sample.source == "guide")
                if piece.fim is None or piece.text is None:
                    continue
                if piece.fim != "plain" and record.fim is not None and record.fim["manual"].unit == "piece":
                    order = [name for name in ("<PRE>", "<SUF>", "<MID>") if name in piece.text]
                    assert order == ["<PRE>", "<SUF>", "<MID>"]
                is_context = not record.masks.best_fit and number == 0  # the first token is only an input
                tokens[piece.fim] += piece.tokens - is_context
                documents[piece.fim] += piece.first_token == 0 and not is_context
    assert (fim.psm_tokens, fim.spm_tokens) == (tokens["psm"], tokens["spm"])
    assert tokens["psm"] + tokens["spm"] > 0
    if record.fim is not None and record.fim["manual"].unit == "document":
        assert (fim.psm_documents, fim.spm_documents) == (documents["psm"], documents["spm"])
        assert fim.documents == sum(documents.values())


def test_a_document_is_traced_to_what_it_was_read_as(make_request: MakeRequest) -> None:
    request = with_fim(make_request(steps=12), PACKED, "piece", rate="1")
    train_run(request)
    (sample, *_) = (sample for sample in trace_step(folder_of(request), 1).samples if sample.source == "manual")
    (found,) = trace_document(folder_of(request), sample.pieces[0].document.text_xxh128).documents
    assert {sighting.fim for sighting in found.sightings} <= {"psm", "spm", "plain"} - {None}
    use = window_use(folder_of(request) / "index", 48)
    assert use.cut_documents == 0 and use.fill > 0.9


def test_fim_is_part_of_the_key_and_a_run_without_it_keeps_its_own(make_request: MakeRequest) -> None:
    request: Any = make_request()
    keys = {request.key, *(with_fim(request, PLAIN, "document", rate).key for rate in ("0", "1/2"))}
    assert len(keys) == 3 and "fim" not in request.identity["config"]
