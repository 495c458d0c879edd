"""What a comparison says of mixtures that were trained through layers of different kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mixproof.train.compare.contenders import Contender
from mixproof.train.compare.layer_backends import note_on_layers
from mixproof.train.model.layer_history import continued, kinds_of

BFLOAT16 = {"dtype": "bfloat16"}
ENGINE = "transformer_engine 2.9.0"


@pytest.mark.parametrize(
    ("even", "wordy", "said"),
    [
        ((ENGINE, ENGINE), (ENGINE, "plain"), f"even with {ENGINE}; wordy with plain, {ENGINE}"),
        (("plain", ENGINE), (ENGINE, "plain: no Triton"), None),  # no mixture is better off
        (("compiled; a: x", "compiled"), ("plain: no Triton", None), "even with compiled; wordy with plain"),
        ((None, None), ("plain", "plain"), None),  # runs of versions that stated none
    ],
)
def test_a_backend_that_goes_with_the_mixture_is_reported(
    even: tuple[str | None, ...],
    wordy: tuple[str | None, ...],
    said: str | None,
    make_run: Any,  # noqa: ANN401  of the room's conftest
    tmp_path: Path,
) -> None:
    contenders, folders = [], {}
    for label, kinds in (("even", even), ("wordy", wordy)):
        runs = {seed: make_run(label, seed, {"english": 1.0}, **BFLOAT16) for seed in (1, 2)}
        for kind, run in zip(kinds, runs.values(), strict=True):
            folders[run.key] = tmp_path / run.key
            folders[run.key].mkdir()
            stated = {} if kind is None else {"layers": kind}
            (folders[run.key] / "circumstances.json").write_text(json.dumps(stated))
        contenders.append(Contender(label, runs, {}))
    note = note_on_layers("nano", contenders, folders)
    assert (note is None) == (said is None)
    assert said is None or (note is not None and f"only within rounding: {said}. " in note)


def test_nothing_is_said_of_runs_in_float32(make_run: Any, tmp_path: Path) -> None:  # noqa: ANN401
    contenders, folders = [], {}
    for label, kind in (("even", "plain"), ("wordy", "compiled")):
        run = make_run(label, 1, {"english": 1.0})
        folders[run.key] = tmp_path / label
        folders[run.key].mkdir()
        (folders[run.key] / "circumstances.json").write_text(json.dumps({"layers": kind}))
        contenders.append(Contender(label, {1: run}, {}))
    assert note_on_layers("nano", contenders, folders) is None


def test_a_run_that_changed_its_layers_states_all_of_them() -> None:
    first = f"{ENGINE}; compiled: the loss differs"
    assert continued(first, ENGINE, 8) == first
    second = continued("plain: no Triton", first, 8)
    assert second == f"plain: no Triton; up to sample 8: {ENGINE}"
    assert continued("plain", second, 16) == f"plain; up to sample 8: {ENGINE}"
    third = continued("compiled", second, 16)
    assert third == f"compiled; up to sample 16: plain; up to sample 8: {ENGINE}"
    assert kinds_of(third) == ["compiled", "plain", ENGINE]
