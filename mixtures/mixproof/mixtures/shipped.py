"""The shipped specs: in a checkout they are in `mixtures/`, in an installed package inside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped_spec(name: str) -> str:
    """Return the text of the shipped spec `name`.

    Raises:
        FileNotFoundError: when there is no such spec.
    """
    installed = PACKAGE / "specs" / f"{name}.yaml"
    path = installed if installed.is_file() else PACKAGE.parents[1] / f"{name}.yaml"
    return path.read_text(encoding="utf-8")
