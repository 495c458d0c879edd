"""Scratch folders: gone at the end of a try, and after a kill at the next try of the same key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from mixproof.ledger.store import Store
from mixproof.ledger.store.attempts import LOCK

KEY, OTHER = "0" * 64, "1" * 64
DIES = """
import os, signal, sys
from mixproof.ledger.store import Store
with Store(sys.argv[1]).attempt("read", sys.argv[2]) as attempt:
    attempt.path("half").write_text("half")
    print("there", flush=True)
    if sys.argv[3] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def start(root: Path, how: str) -> subprocess.Popen[bytes]:
    """A process that opens an attempt and dies in it, or goes on."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", DIES, str(root), KEY, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    return process


def commit(root: Path, key: str) -> None:
    with Store(root).attempt("read", key) as attempt:
        attempt.path("a").write_text("a")
        attempt.commit()


def left(root: Path) -> list[str]:
    return [path.name for path in (root / ".attempts").iterdir()]


def test_what_a_killed_try_left_is_removed_by_the_next_try_at_the_same_key_only(tmp_path: Path) -> None:
    start(tmp_path, "dies").communicate()
    (dead,) = left(tmp_path)
    commit(tmp_path, OTHER)
    assert left(tmp_path) == [dead]
    commit(tmp_path, KEY)
    assert left(tmp_path) == []


def test_a_try_that_is_still_at_work_and_one_of_another_machine_are_left_alone(tmp_path: Path) -> None:
    process = start(tmp_path, "lives")
    commit(tmp_path, KEY)
    (alive,) = left(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (tmp_path / ".attempts" / alive / LOCK).write_text("another-machine")
    commit(tmp_path, KEY)
    assert left(tmp_path) == [alive]
