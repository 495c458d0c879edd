"""The notebooks run on a small store, and what they show was made by the scripts beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray

from conftest import Experiment
from mixproof.pipeline.cluster.cluster import Cluster
from notebook_runner import cells_of, execute

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))


@pytest.fixture
def small(experiment: Experiment, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small experiment in place of the demo, on the session's Ray."""
    cluster.run(len, [("",)], label="start")
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    monkeypatch.setenv("MIXPROOF_STORE", str(experiment.store))
    monkeypatch.setenv("MIXPROOF_SPEC", str(experiment.spec))


def outputs(notebook: dict[str, Any]) -> str:
    return json.dumps([cell.get("outputs", []) for cell in notebook["cells"]], ensure_ascii=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_cell_runs(script: Path, small: None, experiment: Experiment) -> None:
    notebook = execute(script.read_text())
    shown = outputs(notebook)
    if script.stem.startswith("01"):
        assert "exact_duplicate" in shown and "held-out documents of code" in shown
    elif script.stem.startswith("02"):
        assert "loss/manual" in shown and "mostly_code" in shown
    else:
        assert experiment.result["compare"]["verdict"] in shown
        assert "0 stages run" in shown and "mixtrues" in shown


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_notebook_beside_a_script_has_its_cells_and_outputs(script: Path) -> None:
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    assert notebook["nbformat"] == 4
    cells = [(cell["cell_type"] == "markdown", "".join(cell["source"])) for cell in notebook["cells"]]
    assert cells == cells_of(script.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in code if not cell["source"][0].startswith("assert"))
    assert str(FOLDER.parents[1]) not in outputs(notebook)


def test_a_cell_shows_what_it_prints_and_its_last_value() -> None:
    notebook = execute("# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 2\nprint('two')\nx + 1\n\n# %%\nx = 3\n")
    text, first, second = notebook["cells"]
    assert "".join(text["source"]) == "# Title\n\ntext"
    assert [output.get("text") or output["data"]["text/plain"] for output in first["outputs"]] == [["two\n"], ["3"]]
    assert second["outputs"] == [] and second["execution_count"] == 2


def test_there_are_three() -> None:
    assert len(SCRIPTS) == 3
