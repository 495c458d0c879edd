"""Run notebooks that are written as scripts, and write them with their outputs as `.ipynb`.

    python examples/notebooks/notebook_runner.py [NAME.py ...]     all of them where none is named

A cell begins at `# %%`, a text at `# %% [markdown]`, as editors and Jupytext read it. Cells run in one namespace, in
order; what they print and the value of a last expression are their outputs. No Jupyter is needed, neither here nor in
CI, which runs the scripts on a small store: nbclient and a kernel would be some thirty more packages to pin.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MARK = re.compile(r"^# %%(.*)$", re.MULTILINE)


def cells_of(script: str) -> list[tuple[bool, str]]:
    """The cells of a script in order: whether each is text, and its source."""
    parts = MARK.split(script)[1:]
    cells = []
    for kind, source in zip(parts[::2], parts[1::2], strict=True):
        is_text = "[markdown]" in kind
        shown = re.sub(r"^# ?", "", source.strip(), flags=re.MULTILINE) if is_text else source.strip()
        cells.append((is_text, shown))
    return cells


def execute(script: str) -> dict[str, Any]:
    """Run a script's cells; return the notebook with their outputs.

    Raises:
        Exception: what a cell raises.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    cells: list[dict[str, Any]] = []
    number = 0
    for is_text, source in cells_of(script):
        cell = {"id": f"cell-{len(cells)}", "metadata": {}, "source": source.splitlines(keepends=True)}
        if is_text:
            cells.append({"cell_type": "markdown", **cell})
        else:
            number += 1
            outputs = _run(source, namespace, number)
            cells.append({"cell_type": "code", "execution_count": number, "outputs": outputs, **cell})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _run(source: str, namespace: dict[str, object], number: int) -> list[dict[str, Any]]:
    """Run one cell; progress on stderr does not count as output."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        exec(compile(tree, "<cell>", "exec"), namespace)  # noqa: S102  that is what a notebook does
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)  # noqa: S307  likewise
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = str(value._repr_html_()).splitlines(keepends=True)
        outputs.append({"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}})
    return outputs


def main(names: list[str]) -> None:
    """Run notebooks in the current folder and write them beside their scripts."""
    for path in [HERE / name for name in names] or sorted(HERE.glob("[0-9]*.py")):
        notebook = execute(path.read_text())
        path.with_suffix(".ipynb").write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        print(path.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main(sys.argv[1:])
