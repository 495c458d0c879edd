"""The documentation: every command parses, every spec loads, every link leads somewhere, the reference is current."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.main import get_group
from typer.testing import CliRunner

from mixproof.cli.command_list import COMMANDS
from mixproof.ledger.equations import EQUATIONS
from mixproof.mixtures.load import load_spec
from shell_blocks import mentioned_calls, mixproof_calls, script_of, shell_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _parser() -> typer.Typer:
    """The command line with the body of every command taken out."""
    app = typer.Typer()
    for name in COMMANDS:
        command: Callable[..., object] = getattr(import_module(f"mixproof.cli.commands.{name}"), name)
        app.command(name)(functools.wraps(command)(lambda **_: None))
    return app


@pytest.mark.parametrize("page", [page for page in PAGES if mixproof_calls(page.read_text())], ids=_name)
def test_every_command_of_a_page_is_one_that_mixproof_takes(page: Path) -> None:
    app = _parser()
    for call in mixproof_calls(page.read_text()):
        parsed = CliRunner().invoke(app, call)
        assert parsed.exit_code == 0, f"mixproof {' '.join(call)}\n{parsed.output}"


@pytest.mark.parametrize("page", [page for page in PAGES if mentioned_calls(page.read_text())], ids=_name)
def test_every_command_that_a_page_mentions_exists_with_its_options(page: Path) -> None:
    for call in mentioned_calls(page.read_text()):
        assert unknown_words(call) == [], f"mixproof {' '.join(call)}"


def unknown_words(call: list[str]) -> list[str]:
    """The command of a call if mixproof does not have it, else those of its options that the command does not take."""
    name, *words = call
    if name.startswith("--"):
        return [] if name in ("--version", "--help") else [name]
    if name not in COMMANDS:
        return [name]
    taken = {option for parameter in get_group(_parser()).commands[name].params for option in parameter.opts}
    options = [word.partition("=")[0].rstrip(",.:;") for word in words if word.startswith("-")]
    return [option for option in options if option.strip("-") and option not in {*taken, "--help"}]


def test_a_mentioned_command_or_option_that_does_not_exist_would_be_noticed() -> None:
    assert mentioned_calls(
        "Run `mixproof build spec.yaml --html FILE`.\n\n    mixproof search [--rounds 1]  # x\n"
    ) == [
        ["build", "spec.yaml", "--html", "FILE"],
        ["search", "--rounds", "1"],
    ]
    assert unknown_words(["bild", "spec.yaml"]) == ["bild"]
    assert unknown_words(["build", "--html", "x", "--htlm"]) == ["--htlm"]


def test_a_command_that_mixproof_does_not_take_would_be_noticed() -> None:
    assert CliRunner().invoke(_parser(), ["build", "spec.yaml", "--no-such-option"]).exit_code == 2
    assert mixproof_calls(
        "```sh\nRUN=$(mixproof train a.yaml --json | tail)\nmixproof plan a.yaml || echo no\n```\n"
    ) == [
        ["train", "a.yaml", "--json"],
        ["plan", "a.yaml"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_spec_of_a_page_loads(page: Path, tmp_path: Path) -> None:
    specs = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    for text in specs:  # all first: one may extend another
        (tmp_path / f"{_spec_name(text)}.yaml").write_text(text)
    (tmp_path / "spec.yaml").write_text((ROOT / "mixtures" / "demo.yaml").read_text())
    for text in specs:
        assert load_spec(tmp_path / f"{_spec_name(text)}.yaml").spec.name == _spec_name(text)


def _spec_name(text: str) -> str:
    found = re.search(r"^name: (\S+)$", text, re.MULTILINE)
    assert found, f"a spec without a name:\n{text}"
    return found[1]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{_name(page)}: {target}"


def test_the_reference_says_what_the_code_says() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "docs/reference_pages.py", "--check"]
    found = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_every_equation_is_checked_somewhere() -> None:
    page = (ROOT / "docs" / "reference" / "equations.md").read_text()
    assert [equation.name for equation in EQUATIONS] == [f"E{number}" for number in range(1, 11)]
    assert page.count("Checked in `mixproof.") == len(EQUATIONS)


def test_the_tutorial_runs_its_blocks_in_one_shell_and_stops_at_the_first_failure() -> None:
    page = '```sh\nA=1\n```\n\ntext\n\n```yaml\nname: x\n```\n\n```sh\necho "found $A"\nfalse\necho never\n```\n'
    assert shell_blocks(page) == ["A=1\n", 'echo "found $A"\nfalse\necho never\n']
    ran = subprocess.run(["bash", "-c", script_of(page)], check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stdout.splitlines() == ["$ A=1", '$ echo "found $A"', "$ false", "$ echo never", "found 1"]
