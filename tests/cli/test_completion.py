"""Completion in the shell itself."""

from __future__ import annotations

import subprocess

import pytest

from mixproof.cli.command_list import COMMANDS
from mixproof.cli.commands.completion import bash_script, fish_script, options_of

OPTIONS = {name: options_of(name) for name in ("build", "plan", "trace")}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mixproof", "pl"], ["plan"]),
        (["mixproof", "build", "--st"], ["--store"]),
        (["mixproof", "plan", "--price"], ["--price-cpu-hour", "--price-gpu-hour"]),
        (["mixproof", "trace", "x", "--se"], ["--seed"]),
    ],
)
def test_bash_completes_commands_and_options(words: list[str], expected: list[str]) -> None:
    call = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _mixproof; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", bash_script(OPTIONS) + call], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected


def test_options_are_those_of_the_signatures() -> None:
    assert {"--help", "--store", "--quiet", "--verbose", "--json", "--workers"} <= set(options_of("build"))
    assert "completion" in COMMANDS


def test_fish_describes_every_command() -> None:
    lines = fish_script(OPTIONS).splitlines()
    assert len([line for line in lines if "__fish_use_subcommand" in line]) == 3
    assert "complete -c mixproof -n '__fish_seen_subcommand_from trace' -l seed" in lines
