"""The house: source roots are not packages, every module is in its folder's README, the cluster file is valid."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ledger", "mixtures", "pipeline", "tokenize", "train", "cli")
FOLDERS = sorted({path.parent for room in (*ROOMS, "api") for path in (ROOT / room / "mixproof").rglob("*.py")})
"""Every folder with modules, the rooms' root folders among them."""


def _readme_of(folder: Path) -> Path:
    """The README of a folder: beside its modules, or, for a room's root folder, at the top of the room."""
    is_root = folder.parent.name == "mixproof"
    return (folder.parents[1] if is_root else folder) / "README.md"


def _modules_of(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.py")} - {"__init__.py", "__main__.py"}


def _named_in(readme: Path) -> set[str]:
    """The modules in a README's tables."""
    rows = [line for line in readme.read_text().splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([\w/.]+\.py)`", row)}


def test_no_init_file_stands_where_it_would_hide_a_module_or_break_the_namespace() -> None:
    forbidden = [ROOT / room / inner / "__init__.py" for room in ROOMS for inner in ("", "mixproof")]
    forbidden += list((ROOT / "tests").rglob("__init__.py"))
    assert [path for path in forbidden if path.exists()] == []


def test_every_room_is_a_typed_package_with_a_readme() -> None:
    for room in (*ROOMS, "api"):
        assert (ROOT / room / "mixproof" / room / "__init__.py").is_file()
        assert (ROOT / room / "mixproof" / room / "py.typed").is_file()
        assert (ROOT / room / "README.md").is_file()


def test_every_imported_module_of_mixproof_exists() -> None:
    """Mypy takes a module that is missing from a namespace package for one without types."""
    sources = [
        path for folder in (*ROOMS, "api", "tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")
    ]
    trees = [(path, ast.parse(path.read_bytes())) for path in sources]
    imported = {
        (module, path.relative_to(ROOT).as_posix())
        for path, tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (module := node.module or "").startswith("mixproof.") and not node.level
    }
    assert len(imported) > 1000
    missing = []
    for module, path in sorted(imported):
        parts = module.split(".")
        path_of_module = ROOT / parts[1] / Path(*parts)
        if not path_of_module.is_dir() and not path_of_module.with_suffix(".py").is_file():
            missing.append((module, path))
    assert missing == []


def test_the_standard_librarys_tokenize_is_found_from_the_repository_root() -> None:
    code = "import tokenize, mixproof.tokenize; print(tokenize.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": ":".join(ROOMS), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert not found.stdout.startswith(str(ROOT))


def test_the_job_environment_puts_every_source_root_on_the_path() -> None:
    environment = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())
    assert environment["env_vars"]["PYTHONPATH"].split(":") == [*ROOMS, "api"]


def test_the_public_package_is_in_the_seventh_root_alone() -> None:
    assert (ROOT / "api" / "mixproof" / "__init__.py").is_file()
    assert not (ROOT / "api" / "__init__.py").exists()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_the_readme_of_a_folder_names_all_of_its_modules_and_no_others(folder: Path) -> None:
    modules, readme = _modules_of(folder), _readme_of(folder)
    if not modules:
        return
    assert readme.is_file(), f"{readme.relative_to(ROOT)}: missing; it names {', '.join(sorted(modules))}"
    named = _named_in(readme)
    assert modules - named == set(), f"{readme.relative_to(ROOT)} does not name these modules"
    elsewhere = {name for name in named if not (folder / name).is_file()}
    assert elsewhere == set(), f"{readme.relative_to(ROOT)} lists modules that are not in this folder"


def test_a_readme_that_misses_a_module_or_names_another_one_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("| `read.py` | does | `loop/run.py` |\n\nText names `other.py`, too.\n")
    assert _named_in(tmp_path / "README.md") == {"read.py", "loop/run.py"}
