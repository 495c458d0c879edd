"""Check that a node of a shared cluster runs the same mixproof and libraries as the command.

Nodes are installed one by one, and a cluster that scales up starts new ones at any time. A node with another version
could compute another result under the same key. Every task is preceded by the comparison (see `node_task`), and a node
that differs gets no tasks.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mixproof.ledger.errors import NodeError, RequestError

LIBRARIES = ("gigatoken", "numpy", "pyarrow", "sentencepiece", "tokenizers", "xxhash")
"""Libraries whose version may change what a stage computes."""
MIXPROOF = "mixproof's code"
NONE = "none"
"""Version of a library that is missing."""


class DifferentCodeError(NodeError, RequestError):
    """A node has another mixproof, Python or library than the command; no task has run there."""


@cache
def code_versions() -> dict[str, str]:
    """Versions of Python and of libraries, and a hash of mixproof's modules; `none` for a library that is missing."""
    major, minor, _ = platform.python_version_tuple()
    found = {"Python": f"{major}.{minor}", MIXPROOF: _code_hash()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = NONE
    return found


def differences(expected: Mapping[str, str]) -> list[str]:
    """Compare this process with the command's `code_versions()`; a phrase for each difference."""
    found = code_versions()
    pairs = {name: (found.get(name, NONE), expected.get(name, NONE)) for name in [*found, *expected]}
    return [f"{name} {here} instead of {wanted}" for name, (here, wanted) in pairs.items() if here != wanted]


def different_code(node: str, name: str, differs: str) -> DifferentCodeError:
    """Return the error of a node that must not run the command's tasks.

    Args:
        node: its id.
        name: its name, for people.
        differs: how.
    """
    error = DifferentCodeError(
        f"node {name} runs different code than this command: {differs}; install the same versions on every node "
        "(pip install -c constraints.txt), or submit the command with `ray job submit`, which uploads the code. "
        "Finished work is kept: the same command resumes"
    )
    error.node = node
    return error


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
