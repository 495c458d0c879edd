"""Fields of dataclasses with their types and docstrings, and Markdown tables of them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Sequence


def field_rows(kind: type) -> list[tuple[str, str, str]]:
    """Name, type and docstring of every field, as the source has them, and of every property.

    Raises:
        ValueError: when no field of the class has a docstring, which no class means.
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    rows: list[tuple[str, str, str]] = []
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rows.append((f"`{node.target.id}`", f"`{ast.unparse(node.annotation)}`", ""))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and rows:
            rows[-1] = (*rows[-1][:2], one_line(str(node.value.value)))
        elif isinstance(node, ast.FunctionDef) and _is_property(node):
            about = one_line(ast.get_docstring(node) or "")
            rows.append((f"`{node.name}`", f"`{ast.unparse(node.returns) if node.returns else ''}`", about))
    if not any(about for _, _, about in rows):
        raise ValueError(f"{kind.__name__}: no field has a docstring")
    return rows


def markdown_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Draw a table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def one_line(text: str) -> str:
    """The text before the first blank line, in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)
