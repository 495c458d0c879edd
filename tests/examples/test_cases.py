"""The examples as a reader runs them: the commands of each README, in its folder, one after another."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from conftest import environment
from mixproof.pipeline.cluster.cluster import Cluster
from prepare import CASES
from shell_blocks import script_of

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Account = dict[str, dict[str, int]]


@pytest.fixture
def run_case(cluster: Cluster, tmp_path: Path) -> Callable[[str], Account]:
    """Run the commands of a case's README in a copy of the examples; the account of its last build, if it builds."""
    cluster.run(len, [("",)], label="start")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, arguments in (("mixproof", "-m mixproof.cli"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (commands / name).chmod(0o755)
    paths = {"PATH": f"{commands}:{os.environ['PATH']}", "RAY_ADDRESS": ray.get_runtime_context().gcs_address}

    def run(case: str) -> Account:
        ignored = shutil.ignore_patterns("corpus", ".mixproof", "notebooks")
        shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=ignored)
        folder = tmp_path / "examples" / case
        script = script_of((folder / "README.md").read_text())
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment() | paths, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        made = sorted((folder / ".mixproof" / "builds").glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
        sources = json.loads(made[-1].read_text())["sources"] if made else {}
        return {
            name: {
                reason: dropped["documents"] for row in source["ledger"] for reason, dropped in row["dropped"].items()
            }
            | {"kept": source["train"]["documents"]}
            for name, source in sources.items()
        }

    return run


def test_web_books_code(run_case: Callable[[str], Account]) -> None:
    account = run_case("web-books-code")
    assert account["web"]["exact_duplicate"] >= 20  # the mirrored pages
    assert min(source["kept"] for source in account.values()) > 20


def test_warc_crawl(run_case: Callable[[str], Account]) -> None:
    crawl = run_case("warc-crawl")["crawl"]
    assert (crawl["status_not_200"], crawl["not_html"]) == (1, 1)
    assert crawl["kept"] >= 3


def test_quality_ablation(run_case: Callable[[str], Account]) -> None:
    web = run_case("quality-ablation")["web"]
    # every fourth text is spam that repeats one line
    assert web["dup_line_frac"] > 20
    assert web["kept"] > 20


def test_search(run_case: Callable[[str], Account]) -> None:
    assert run_case("search") == {}  # planned only: its runs take minutes


def test_climb(run_case: Callable[[str], Account]) -> None:
    clusters = run_case("climb")
    assert [name.split("-")[0] for name in sorted(clusters)] == [f"all/c0{number}" for number in (1, 2, 3, 4)]
    assert min(source["kept"] for source in clusters.values()) > 20


def test_sft(run_case: Callable[[str], Account]) -> None:
    account = run_case("sft")
    assert account["conversations"]["kept"] > 300 and account["manual"]["kept"] > 50


def test_existing_tokens(run_case: Callable[[str], Account]) -> None:
    account = run_case("existing-tokens")
    assert account["manual"] == {"kept": account["manual"]["kept"]}
    assert account["manual"]["kept"] > 50 and account["docstrings"]["kept"] > 100


def test_every_case_is_in_the_table_and_has_text_to_prepare() -> None:
    listed = set(re.findall(r"\]\(([\w-]+)/README\.md\)", (EXAMPLES / "README.md").read_text()))
    folders = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert listed == folders == {*CASES, "notebooks"}
