"""What is published: sdist and wheel, installed where there is no checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from mixproof.cli.machine.extras import EXTRAS
from mixproof.ledger.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program as a user would: nothing of this checkout is on its path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the sdist holds."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (source,) = folder.glob("mixproof-*.tar.gz")
    run("tar", "-xzf", source, "-C", folder, cwd=folder)  # `tarfile` has safe extraction from Python 3.11.4 on only
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=folder / source.name[:-7])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel; its dependencies are those of the environment of this test."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=folder).strip())
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "dependencies.pth").write_text("\n".join(others) + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_has_every_room_the_shipped_specs_and_no_stub(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        metadata = Parser().parsestr(file.read(f"mixproof-{VERSION}.dist-info/METADATA").decode())
    assert len(names) == len(set(names))
    for room in ("api", "cli", "ledger", "mixtures", "pipeline", "tokenize", "train"):
        assert f"mixproof/{room}/__init__.py" in names
    for name in ("__init__.py", "py.typed", "mixtures/specs/demo.yaml"):
        assert f"mixproof/{name}" in names
    assert [name for name in names if name.endswith((".pyi", ".md"))] == []
    assert re.findall(r"\]\((?!https://|#)[^)]*\)", str(metadata.get_payload())) == []
    assert "Repository, https://" in " ".join(metadata.get_all("Project-URL") or ())
    assert {*EXTRAS, "all", "filters"} <= set(metadata.get_all("Provides-Extra") or ())


def test_the_wheel_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    mixproof = installed / "mixproof"
    assert VERSION in run(mixproof, "--version", cwd=tmp_path)
    code = "import mixproof, mixproof.train.record; print(mixproof.__version__, mixproof.__path__, mixproof.open)"
    told = run(installed / "python", "-c", code, cwd=tmp_path)
    assert told.startswith(VERSION) and str(installed.parent) in told and str(ROOT / "api") not in told
    run(mixproof, "demo", "--prepare", "--directory", tmp_path / "demo", cwd=tmp_path)
    planned = json.loads(run(mixproof, "plan", tmp_path / "demo" / "demo.yaml", "--json", cwd=tmp_path))
    assert set(planned["sources"]) == {"docstrings", "manual", "readmes", "stdlib"}
    doctor = json.loads(run(mixproof, "doctor", "--json", cwd=tmp_path))
    assert doctor["mixproof"] == VERSION
    assert doctor["extras"]["train"]["install"] == "pip install 'mixproof[train]'"
    run(mixproof, "init", tmp_path / "demo" / "corpus", "--output", tmp_path / "own.yaml", "--yes", cwd=tmp_path)
    assert (tmp_path / "own.yaml").is_file()


def test_the_pinned_packages_hold_the_build_backend() -> None:
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]}
    assert {"hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"} <= pinned


def test_the_image_is_installed_as_make_installs_it_without_what_tests_need() -> None:
    made = (ROOT / "Makefile").read_text()
    image = " ".join((ROOT / "Dockerfile").read_text().replace("\\\n", " ").split())
    assert "-c constraints.txt -e '.[all,lm-eval,wandb,dev]'" in made
    assert "-c constraints.txt '.[all,lm-eval,wandb]'" in image
    assert image.index("AS build") < image.index("COPY --from=build /mixproof/.venv /mixproof/.venv")
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", ".mixproof", "dist"} <= set(ignored)
