"""The specs that ship with mixproof: in a checkout beside the source root, in a wheel inside the package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped_spec(name: str) -> str:
    """Read the text of the shipped spec `name`.

    Raises:
        FileNotFoundError: when there is none of that name.
    """
    installed = PACKAGE / "specs" / f"{name}.yaml"
    path = installed if installed.is_file() else PACKAGE.parents[1] / f"{name}.yaml"
    return path.read_text(encoding="utf-8")
