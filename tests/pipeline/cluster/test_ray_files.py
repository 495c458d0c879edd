"""Ray's files are out of reach of other users of the machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mixproof.ledger.private_folder import private_folder
from mixproof.pipeline.cluster.ray_files import protect_token, ray_folder


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    name = private_folder("ray", str(tmp_path))
    assert (name, mode(name)) == (f"{tmp_path}/mixproof-ray-{os.getuid()}", 0o700)
    for kind in ("open", "link"):
        taken = tmp_path / f"mixproof-{kind}-{os.getuid()}"
        if kind == "open":
            taken.mkdir()
            taken.chmod(0o777)
        else:
            taken.symlink_to(name)
        used = private_folder(kind, str(tmp_path))
        assert used.startswith(f"{taken}-") and mode(used) == 0o700
        assert private_folder(kind, str(tmp_path)) == used


def test_sessions_are_in_a_private_folder_unless_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    folder = ray_folder()
    assert folder is not None and mode(Path(folder).parent) == 0o700
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    assert ray_folder() is None, "too long for a socket"
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert ray_folder() is None


def test_the_token_is_readable_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    protect_token()
    token = tmp_path / ".ray" / "auth_token"
    made = token.read_text()
    assert (len(made), mode(token), mode(token.parent)) == (64, 0o600, 0o700)
    token.chmod(0o644)
    protect_token()
    assert (token.read_text(), mode(token)) == (made, 0o600)
