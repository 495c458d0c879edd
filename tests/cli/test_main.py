"""The command line itself: its version, its help without extras, Ctrl-C, missing packages."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Experiment, environment, mixproof_command, write_experiment
from mixproof.cli.__main__ import main, traceback_of
from mixproof.cli.command_list import COMMANDS
from mixproof.cli.machine.extras import MODULES
from mixproof.ledger.version import VERSION

WITHOUT_EXTRAS = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(MODULES)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from mixproof.cli.__main__ import main
main()
"""

WAITS_A_SECOND = """
import atexit
import mixproof.pipeline.cluster.head as head
from mixproof.cli.__main__ import main
head.ANSWER_SECONDS = 1.0
atexit.register(print, "Python ended as usual")
main()
"""


def without_extras(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that finds no package of any extra."""
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_version_is_one_line() -> None:
    done = subprocess.run(mixproof_command("--version"), env=environment(), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"mixproof {VERSION}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_extra(name: str) -> None:
    done = without_extras(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout and name in done.stdout


def test_a_missing_package_is_named_with_the_line_that_installs_it(experiment: Experiment, tmp_path: Path) -> None:
    run = experiment.result["train"]["runs"][0]["run"]
    done = without_extras("export", run, "--format", "huggingface", "--output", tmp_path / "model")
    assert done.returncode == 2
    assert "needs the package torch" in done.stderr and "pip install" in done.stderr and "[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_leaves_a_waiting_thread_behind_ends_at_once_with_its_exit_code(tmp_path: Path) -> None:
    """Ray's thread, which waits in compiled code, would crash the process while Python ends."""
    with socket.socket() as stopped:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        command = ["build", write_experiment(tmp_path), "--store", tmp_path / "store", "--address", address]
        done = subprocess.run(
            [sys.executable, "-c", WAITS_A_SECOND, *map(str, command)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert f"error: no Ray cluster answers at {address}" in done.stderr
    assert "Python ended as usual" not in done.stdout


def test_ctrl_c_stops_a_build_with_a_sentence_and_the_same_command_resumes(tmp_path: Path) -> None:
    command = mixproof_command("build", write_experiment(tmp_path), "--store", tmp_path / "store", "--workers", "2")
    started = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores Ctrl-C
    )
    while not list(tmp_path.glob("store/read/*/receipt.json")):
        assert started.poll() is None, started.communicate()
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=120)
    assert (started.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "stopped; run the same command to resume" and "Traceback" not in err
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 reused" not in done.stdout


def test_no_color_is_respected_on_a_terminal() -> None:
    code = "from rich.console import Console; Console(force_terminal=True).print('[green]audit clean[/]')"
    command, colored = [sys.executable, "-c", code], environment() | {"TERM": "xterm-256color"}
    shown = [
        subprocess.run(command, env=env, capture_output=True, check=True).stdout
        for env in (colored, colored | {"NO_COLOR": "1"})
    ]
    assert shown == [b"\x1b[32maudit clean\x1b[0m\n", b"audit clean\n"]


def test_the_traceback_of_a_bug_shows_no_credentials_and_steers_no_terminal() -> None:
    error = ValueError("no answer of https://ann:pw@host/a?X-Amz-Signature=0f1e \x1b[2J")
    shown = traceback_of(error)
    assert "ValueError: no answer of https://***@host/a?X-Amz-Signature=*** \ufffd[2J" in shown


def test_a_name_cannot_pretend_to_be_a_line_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mixproof", "plan", str(tmp_path / "a.yaml\nbuild   clean :x:")])
    with pytest.raises(SystemExit):
        main()
    assert "a.yaml\n  build   clean :x:: no such spec file" in capsys.readouterr().err
