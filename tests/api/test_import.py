"""`import mixproof`: what it loads, what it offers, and that the rooms need none of it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mixproof
from mixproof.api import face

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("ledger", "mixtures", "pipeline", "tokenize", "train", "cli")
STUB = "from mixproof.api.face import *\n"
MOST_SECONDS = 0.05


def python(code: str, *roots: str) -> str:
    path = os.pathsep.join(str(ROOT / root) for root in roots)
    environment = {"PYTHONPATH": path, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_takes_less_than_fifty_milliseconds_and_loads_nothing_else() -> None:
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport mixproof\ntook = time.perf_counter() - start\n"
        "loaded = {name.partition('.')[0] for name in sys.modules} & {'numpy', 'pyarrow', 'pydantic', 'ray', 'torch'}\n"
        "print(took, [name for name in sys.modules if name.startswith('mixproof.')], loaded)"
    )
    found = [python(code, "api", *ROOMS).split(maxsplit=1) for _ in range(5)]
    assert {rest for _, rest in found} == {"[] set()"}
    assert min(float(seconds) for seconds, _ in found) < MOST_SECONDS


def test_what_it_offers_loads_neither_ray_nor_torch_nor_pandas() -> None:
    code = "import mixproof, sys; mixproof.open; print(sorted({'ray', 'torch', 'pandas', 'polars'} & set(sys.modules)))"
    assert python(code, "api", *ROOMS) == "[]"


def test_the_version_is_that_of_every_manifest() -> None:
    assert mixproof.__version__ == import_module("mixproof.ledger.version").VERSION


def test_completion_shows_the_public_names_and_another_name_is_an_error() -> None:
    assert set(face.__all__) <= set(dir(mixproof))
    with pytest.raises(AttributeError, match="'mixproof' has no attribute 'trian'"):
        mixproof.trian  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("first", ["mixproof.train.record", "mixproof.api.face", "mixproof"])
def test_train_is_the_room_and_the_function_whatever_is_imported_first(first: str) -> None:
    code = (
        f"import {first}, mixproof\nimport mixproof.train.record as record\n"
        "try:\n    mixproof.train('no-such-spec.yaml')\nexcept mixproof.SpecError as error:\n    print(error)\n"
        "print(mixproof.train.record is record)"
    )
    found = python(code, "api", *ROOMS)
    assert "no-such-spec.yaml" in found and found.endswith("True")


def test_the_rooms_are_a_namespace_package_without_the_seventh_root() -> None:
    """As in a Ray job that puts the six roots on its path; an editable install adds the seventh by a `.pth` file."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "sys.path[:] = [root for root in sys.path if not Path(root, 'mixproof', '__init__.py').exists()]\n"
        "import mixproof, mixproof.cli.options; print(mixproof.__file__)"
    )
    assert python(code, *ROOMS) == "None"


def test_every_room_has_the_stub_that_joins_the_roots_for_type_checkers() -> None:
    assert [room for room in ROOMS if (ROOT / room / "mixproof" / "__init__.pyi").read_text() != STUB] == []
