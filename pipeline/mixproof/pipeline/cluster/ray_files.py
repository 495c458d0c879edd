"""The files of a Ray that a command starts: out of reach of other users of the machine.

Ray makes its folders writable for everybody, `/tmp/ray` among them. Another user could put a folder with own sockets in
the place of a session's, and workers would run the tasks that come from there. Ray also writes its token for everybody
to read, as far as the home folder allows.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mixproof.ledger.private_folder import private_folder

RAY_TMPDIR = "RAY_TMPDIR"
SESSION_CHARS = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.4194304")
MAX_SOCKET_CHARS = 107
"""Of the path of a Unix socket on Linux."""


def ray_folder() -> str | None:
    """The folder for Ray's session folders; None: Ray's own default.

    That is used where RAY_TMPDIR names a folder, or where the path of a private folder would be too long for sockets.
    """
    if RAY_TMPDIR in os.environ:
        return None
    folder = private_folder("ray", os.environ.get("TMPDIR") or "/tmp")  # noqa: S108  where Ray has it
    return f"{folder}/ray" if len(folder) + SESSION_CHARS <= MAX_SOCKET_CHARS else None


def protect_token() -> None:
    """Make Ray's token readable for this user alone; create it if there is none, as Ray would."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    path = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # Ray then says what is wrong
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            path.chmod(0o600)
        else:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
