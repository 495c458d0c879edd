"""Check that a node of a shared cluster runs the same mixproof and libraries as the command.

Nodes are installed one by one, and a cluster that scales up starts new ones at any time. A node with another version
could compute another result under the same key. Each worker process checks once, at its first task.
"""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mixproof.ledger.errors import RequestError

LIBRARIES = ("gigatoken", "numpy", "pyarrow", "sentencepiece", "tokenizers", "xxhash")
"""Libraries whose version may change what a stage computes."""
MIXPROOF = "mixproof's code"


@cache
def code_versions() -> dict[str, str]:
    """Versions of Python and of libraries, and a hash of mixproof's modules; `none` for a library that is missing."""
    major, minor, _ = platform.python_version_tuple()
    found = {"Python": f"{major}.{minor}", MIXPROOF: _code_hash()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "none"
    return found


def check_same_code(expected: Mapping[str, str]) -> None:
    """Compare this process with the command's `code_versions()`.

    Raises:
        RequestError: names this node and every difference.
    """
    differences = [
        f"{name} {found} instead of {expected[name]}"
        for name, found in code_versions().items()
        if found != expected.get(name)
    ]
    if differences:
        raise RequestError(
            f"node {socket.gethostname()} runs different code than this command: {', '.join(differences)}; install the "
            "same versions on every node (pip install -c constraints.txt), or submit the command with `ray job "
            "submit`, which uploads the code. Finished work is kept: the same command resumes"
        )


def _code_hash() -> str:
    """The first 12 hex digits of a hash over the names and bytes of all modules that this process imports."""
    modules: dict[str, Path] = {}
    for portion in map(Path, import_module("mixproof").__path__):
        for path in portion.rglob("*.py"):
            modules.setdefault(path.relative_to(portion).as_posix(), path)
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\0".encode() + hashlib.sha256(modules[name].read_bytes()).digest())
    return digest.hexdigest()[:12]
