"""The commands, and what each does, without importing them."""

from __future__ import annotations

import ast
from pathlib import Path

COMMANDS = (
    "init",
    "plan",
    "inspect",
    "build",
    "audit",
    "train",
    "compare",
    "run",
    "search",
    "ladder",
    "trace",
    "diff",
    "store",
    "export",
    "proxies",
    "schema",
    "demo",
    "doctor",
    "completion",
)
"""Each is a module of `commands/` with a function of the same name."""


def first_line(name: str) -> str:
    """First line of a command's docstring, read from its source."""
    tree = ast.parse((Path(__file__).parent / "commands" / f"{name}.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    return (ast.get_docstring(functions[name]) or "").splitlines()[0]
