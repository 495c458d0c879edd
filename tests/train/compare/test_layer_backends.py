"""Layer backends of runs: what a comparison says about them, and the JSON form of a run's history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mixproof.train.compare.contenders import Contender
from mixproof.train.compare.layer_backends import note_on_layers
from mixproof.train.model.layer_history import EarlierBackend, LayerHistory, RejectedBackend, read_layer_history

BFLOAT16 = {"dtype": "bfloat16"}
ENGINE = "transformer_engine 2.9.0"
NO_TRITON = LayerHistory("plain", (RejectedBackend("compiled", "no Triton"),))


@pytest.mark.parametrize(
    ("even", "wordy", "said"),
    [
        (
            (LayerHistory(ENGINE), ENGINE),  # an old run states a string
            (ENGINE, LayerHistory("plain")),
            f"even with {ENGINE}; wordy with plain, {ENGINE}",
        ),
        (("plain", LayerHistory(ENGINE)), (ENGINE, "plain: no Triton"), None),  # both mixtures used both backends
        (("compiled; a: x", LayerHistory("compiled")), (NO_TRITON, None), "even with compiled; wordy with plain"),
        ((None, None), ("plain", "plain"), None),  # runs of versions that stated none
    ],
)
def test_a_backend_that_goes_with_the_mixture_is_reported(
    even: tuple[str | LayerHistory | None, ...],
    wordy: tuple[str | LayerHistory | None, ...],
    said: str | None,
    make_run: Any,  # noqa: ANN401  of the room's conftest
    tmp_path: Path,
) -> None:
    contenders, folders = [], {}
    for label, histories in (("even", even), ("wordy", wordy)):
        runs = {seed: make_run(label, seed, {"english": 1.0}, **BFLOAT16) for seed in (1, 2)}
        for history, run in zip(histories, runs.values(), strict=True):
            folders[run.key] = tmp_path / run.key
            folders[run.key].mkdir()
            layers = history.to_json() if isinstance(history, LayerHistory) else history
            stated = {} if layers is None else {"layers": layers}
            (folders[run.key] / "circumstances.json").write_text(json.dumps(stated))
        contenders.append(Contender(label, runs, {}))
    note = note_on_layers("nano", contenders, folders)
    assert (note is None) == (said is None)
    assert said is None or (note is not None and f"only within rounding: {said}. " in note)


def test_runs_in_float32_get_no_note(make_run: Any, tmp_path: Path) -> None:  # noqa: ANN401
    contenders, folders = [], {}
    for label, backend in (("even", "plain"), ("wordy", "compiled")):
        run = make_run(label, 1, {"english": 1.0})
        folders[run.key] = tmp_path / label
        folders[run.key].mkdir()
        stated = {"layers": LayerHistory(backend).to_json()}
        (folders[run.key] / "circumstances.json").write_text(json.dumps(stated))
        contenders.append(Contender(label, {1: run}, {}))
    assert note_on_layers("nano", contenders, folders) is None


def test_a_run_that_changed_its_backend_states_all_of_them() -> None:
    first = LayerHistory(ENGINE, (RejectedBackend("compiled", "the loss differs"),))
    assert first.resumed(LayerHistory(ENGINE), 8) == first
    second = NO_TRITON.resumed(first, 8)
    assert second == LayerHistory("plain", NO_TRITON.rejected, (EarlierBackend(ENGINE, 8),))
    assert LayerHistory("plain").resumed(second, 16) == LayerHistory("plain", (), (EarlierBackend(ENGINE, 8),))
    third = LayerHistory("compiled").resumed(second, 16)
    assert third.earlier == (EarlierBackend("plain", 16), EarlierBackend(ENGINE, 8))
    assert third.backends == ["compiled", "plain", ENGINE]


def test_a_history_is_stated_as_json_and_read_back() -> None:
    history = LayerHistory("plain", NO_TRITON.rejected, (EarlierBackend(ENGINE, 8),))
    stated = {
        "backend": "plain",
        "rejected": [{"backend": "compiled", "reason": "no Triton"}],
        "earlier": [{"backend": ENGINE, "until_sample": 8}],
    }
    assert history.to_json() == stated
    assert read_layer_history(json.loads(json.dumps(stated))) == history
    assert history.describe() == f"plain; until sample 8: {ENGINE}; compiled rejected: no Triton"


@pytest.mark.parametrize(
    ("stated", "history"),
    [
        ("plain", LayerHistory("plain")),
        (f"{ENGINE}, compiled, attention of torch", LayerHistory(f"{ENGINE}, compiled, attention of torch")),
        (
            f"plain: no C++ compiler: g++ is not in PATH; up to sample 16: compiled; up to sample 8: {ENGINE}",
            LayerHistory(
                "plain",
                (RejectedBackend("others", "no C++ compiler: g++ is not in PATH"),),
                (EarlierBackend("compiled", 16), EarlierBackend(ENGINE, 8)),
            ),
        ),
        (f"compiled; {ENGINE}: x; y", LayerHistory("compiled", (RejectedBackend("others", f"{ENGINE}: x; y"),))),
    ],
)
def test_the_string_of_earlier_versions_is_read_as_what_it_stated(stated: str, history: LayerHistory) -> None:
    assert read_layer_history(stated) == history


@pytest.mark.parametrize(
    "stated", [None, 3, {"backend": "plain"}, {"backend": "plain", "rejected": [], "earlier": [{"backend": "x"}]}]
)
def test_an_unknown_form_states_no_backend(stated: object) -> None:
    assert read_layer_history(stated) is None
