"""The reference of the Python interface, from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import is_dataclass

import mixproof
from dataclass_fields import field_rows, markdown_table, one_line
from mixproof.api.builds import AccountRow, BuildRow
from mixproof.api.compared import Compared, RankedMixture
from mixproof.api.documents import Document, Documents
from mixproof.api.rows import Rows
from mixproof.api.work import Build
from mixproof.api.work import train as train_function

INTRODUCTION = """\
Pandas and Polars are imported only by `to_pandas` and `to_polars`. A build or a run is named by its key or by the
key's first digits. Errors are `mixproof.MixproofError`, and `mixproof.SpecError` for a spec that is wrong; each says
what to do.
"""
FUNCTIONS: dict[str, Callable[..., object]] = {
    "open": mixproof.open,
    "load_spec": mixproof.load_spec,
    "build": mixproof.build,
    "train": train_function,
}
CLASSES: tuple[type, ...] = (mixproof.OpenedStore, Documents, Rows)
RECORDS: tuple[type, ...] = (BuildRow, AccountRow, Document, Compared, RankedMixture, Build)


def python_page(made: str) -> str:
    """Write the page: the example of the package, functions, classes, records."""
    parts = [f"{made}# Python\n", f"```python\n{_example(inspect.getdoc(mixproof) or '')}\n```\n", INTRODUCTION]
    parts += [_function(f"mixproof.{name}", function) for name, function in FUNCTIONS.items()]
    for kind in CLASSES:
        parts.append(f"## {kind.__name__}\n\n{one_line(inspect.getdoc(kind) or '')}\n")
        parts += [_member(name, member) for name, member in vars(kind).items() if not name.startswith("_")]
    for kind in RECORDS:
        assert is_dataclass(kind)
        parts.append(f"## {kind.__name__}\n\n{_paragraphs(kind)}\n")
        parts.append(markdown_table(("field", "type", "what"), field_rows(kind)))
    return "\n".join(parts).rstrip() + "\n"


def _example(about: str) -> str:
    """The indented lines of a docstring, and the empty lines between them."""
    lines = [line[4:] for line in about.splitlines() if line.startswith("    ") or not line]
    return "\n".join(lines).strip()


def _function(name: str, function: Callable[..., object]) -> str:
    return f"## {name}\n\n{_called(name, function)}\n{_sections(function)}"


def _member(name: str, member: object) -> str:
    if isinstance(member, property):
        returns = inspect.signature(member.fget).return_annotation if member.fget else ""
        return f"### `.{name}`: {_code(returns)}\n\n{_paragraphs(member)}\n"
    assert inspect.isfunction(member)
    return f"### `.{name}`\n\n{_called(name, member)}\n{_sections(member)}"


def _called(name: str, function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    shown = [_parameter(one) for one in signature.parameters.values() if one.name != "self"]
    keywords = [one.kind is one.KEYWORD_ONLY for one in signature.parameters.values() if one.name != "self"]
    if True in keywords and not any(one.startswith("*") for one in shown):
        shown.insert(keywords.index(True), "*")
    return f"```python\n{name}({', '.join(shown)}) -> {signature.return_annotation}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{star}{parameter.name}: {parameter.annotation}{default}"


def _sections(function: Callable[..., object]) -> str:
    """The docstring: its paragraphs, then arguments and errors as lists."""
    lines: list[str] = []
    for line in (inspect.getdoc(function) or "").splitlines():
        item = re.match(r"    (\w+): (.*)", line)
        if item:
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif line in ("Args:", "Raises:"):
            lines += ["Arguments:" if line == "Args:" else "Errors:", ""]
        else:
            lines.append(line if not line.startswith("        ") else f"  {line.strip()}")
    return "\n".join(lines) + "\n"


def _paragraphs(thing: object) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(thing) or "").split("\n\n"))


def _code(annotation: object) -> str:
    return f"`{annotation}`"
