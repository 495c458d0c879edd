"""Write docs/reference/ and the JSON Schema of specs from the code.

    python docs/reference_pages.py            writes the pages
    python docs/reference_pages.py --check    ends with 1 where a page is not what the code says

Keys, types, defaults and explanations are those of the models and of the command line itself, so the pages cannot say
anything that the code does not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

from mixproof.cli.command_list import COMMANDS
from mixproof.cli.spec_schema import SCHEMA_FILE, schema_bytes
from mixproof.ledger.equations import EQUATIONS
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.steps.registry import KINDS
from mixproof.train.record import RunRecord
from python_page import python_page
from tables_page import tables_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
ROOMS = ("ledger", "mixtures", "pipeline", "tokenize", "train", "cli")
MADE = "<!-- Made by `make docs` from the code. -->\n\n"
PLAIN = {
    str: "text",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    object: "anything",
    Any: "anything",
}
EXIT_CODES = {
    0: "done",
    1: "a check failed: an audit, a cap, nothing comparable, no mixture to recommend",
    2: "the request is wrong (spec, files, arguments), which almost always shows before any work",
    130: "stopped by Ctrl-C",
}

SPEC_INTRODUCTION = """\
One YAML file is one experiment. Unknown keys are errors; an error names file, line and key. `K`, `M`, `B` and `T`
(tokens) and `KB`, `MB`, `GB` and `TB` (bytes) are decimal; shares are exact: `70%`, `0.7` and `7/10` are one number.
`mixproof schema` prints the JSON Schema for editors.

`extends: base.yaml` names one parent file: maps merge, lists replace, `null` deletes. Relative paths mean the folder of
the file that contains them.

Shorthands: `{a: 70%, b: 30%}` for a mixture of `shares`; `{parts: {a: 2, b: 1}}`; a group
`{web: {share: 60%, of: {high: 2, low: 1}}}`; a step by name alone; one text where a list is expected; `dedup: true`
for exact, `fuzzy: true` and `paragraphs: true` for their defaults; `max_epochs: 2` for `{default: 2}`.
"""
STEPS_INTRODUCTION = """\
In the order in which a source names them. `{datatrove: CLASS, argument: value}` takes any filter or formatter of
datatrove whose decision depends on the document alone.
"""
RUN_INTRODUCTION = """\
`<store>/train/<key>/run.json`, written last: where it stands, the run is finished. What depends on the attempt (times,
speed, device, versions) stands beside it in `circumstances.json`.
"""
EQUATIONS_INTRODUCTION = """\
Where one fails, the command fails and names source, stage and shard; `mixproof audit` checks all of them again, from
the records (`--depth arithmetic`) or from the bytes (`--depth bytes`). Bytes are UTF-8 bytes of the text, counted from
extracted text onward; all numbers are integers.
"""


def main() -> int:
    """Write the pages, or say which are not current."""
    pages = {
        "spec.md": spec_page(),
        "manifest.md": manifest_page(),
        "equations.md": equations_page(),
        "commands.md": commands_page(),
        "python.md": python_page(MADE),
        "tables.md": tables_page(MADE),
    }
    files = {PAGES / name: text for name, text in pages.items()}
    files[ROOT / "mixtures" / SCHEMA_FILE] = schema_bytes().decode()
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in files.items() if _read(path) != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says; `make docs` writes it", file=sys.stderr)
        return 1 if stale else 0
    PAGES.mkdir(exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    return 0


def spec_page() -> str:
    """Every key of a spec, and every step."""
    parts = [
        f"{MADE}# The spec\n",
        SPEC_INTRODUCTION,
        *_model_sections(Spec),
        "## Steps\n",
        STEPS_INTRODUCTION,
    ]
    for name, kind in KINDS.items():
        module = sys.modules[kind.make.__module__]
        parts.append(f"### `{name}`\n")
        parts.append(f"{_paragraph(module.__doc__ or '')}\n")
        parts.append(_fields_table(kind.options, "option"))
    return "\n".join(parts).rstrip() + "\n"


def manifest_page() -> str:
    """Every key of a manifest and of a run's record."""
    parts = [
        f"{MADE}# The manifest\n",
        f"{_paragraph(sys.modules[Manifest.__module__].__doc__ or '')}\n",
        *_model_sections(Manifest),
        "# The record of a run\n",
        RUN_INTRODUCTION,
        *_model_sections(RunRecord),
    ]
    return "\n".join(parts).rstrip() + "\n"


def equations_page() -> str:
    """The equations, and the modules that check them."""
    checked = _checked_in()
    parts = [
        f"{MADE}# The account: equations that must close\n",
        EQUATIONS_INTRODUCTION,
    ]
    for equation in EQUATIONS:
        closes = "\n".join(f"- {part}" for part in equation.statement.split("; "))
        parts.append(f"## {equation.name}: {equation.where}\n\n{closes}\n\nRules out: {_lower(equation.note)}\n")
        parts.append(f"Checked in {', '.join(f'`{name}`' for name in checked[equation.name])}.\n")
    return "\n".join(parts).rstrip() + "\n"


def commands_page() -> str:
    """Every command with its arguments and options."""
    codes = [(str(code), meaning) for code, meaning in EXIT_CODES.items()]
    parts = [f"{MADE}# Commands\n", _table(("exit code", "meaning"), codes)]
    for name in COMMANDS:
        command = getattr(import_module(f"mixproof.cli.commands.{name}"), name)
        hints = get_type_hints(command, include_extras=True)
        given = [(one, *get_args(hints[one.name])[:2]) for one in signature(command).parameters.values()]
        arguments = [
            (info.metavar or one.name.upper(), info.help or "")
            for one, _, info in given
            if isinstance(info, ArgumentInfo)
        ]
        usage = " ".join(["mixproof", name, *(metavar for metavar, _ in arguments), "[OPTIONS]"])
        parts.append(f"## {name}\n\n{_paragraph(command.__doc__ or '')}\n\n    {usage}\n")
        rows: list[tuple[str, ...]] = [(f"`{metavar}`", about, "") for metavar, about in arguments]
        rows += [_option_row(*one) for one in given if isinstance(one[2], OptionInfo)]
        parts.append(_table(("", "what", "default"), rows) if rows else "No options.\n")
    return "\n".join(parts).rstrip() + "\n"


def _option_row(parameter: Parameter, kind: object, option: OptionInfo) -> tuple[str, ...]:
    """How an option is spelled, what it says of itself, and its default."""
    declared = [str(one) for one in (option.default, *(option.param_decls or ())) if str(one).startswith("-")]
    spelled = ", ".join(declared) if declared else f"--{parameter.name.replace('_', '-')}"
    if kind is bool or option.count:
        return f"`{spelled}`", option.help or "", ""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    value = option.metavar or "|".join(choices) or ("N" if int in (kind, *get_args(kind)) else "NAME")
    default = "" if parameter.default in (None, Parameter.empty) else f"`{parameter.default}`"
    return f"`{spelled} {value}`", option.help or "", default


def _model_sections(top: type[BaseModel]) -> list[str]:
    sections = []
    for model in _reachable(top):
        sections.append(f"## {model.__name__}\n\n{_paragraph(model.__doc__ or '')}\n")
        sections.append(_fields_table(model, "key"))
    return sections


def _reachable(top: type[BaseModel]) -> list[type[BaseModel]]:
    """The model and all that its fields lead to, in the order in which a reader meets them."""
    found: dict[type[BaseModel], None] = {top: None}
    for field in top.model_fields.values():
        for model in _models_in(field.annotation):
            found.update(dict.fromkeys(_reachable(model)))
    return list(found)


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _fields_table(model: type[BaseModel], first: str) -> str:
    rows = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        about = field.description or _docstrings(model).get(name, "")
        rows.append((f"`{key}`", _words(field.annotation, field.metadata), _field_default(field), _paragraph(about)))
    return _table((first, "takes", "default", "what"), rows) if rows else "No options.\n"


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Docstrings of fields of a model that does not take them for descriptions itself."""
    source = Path(sys.modules[model.__module__].__file__ or "").read_text()
    body = source.partition(f"class {model.__name__}(")[2]
    body = re.split(r"\n(?=\S)", body, maxsplit=1)[0]
    pairs = re.findall(r"\n    (\w+)_?: [^\n]*\n    \"\"\"(.*?)\"\"\"", body, re.DOTALL)
    return {name if name in model.model_fields else f"{name}_": text for name, text in pairs}


def _words(annotation: object, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Say what a field takes."""
    for given in metadata:
        if isinstance(given, WithJsonSchema) and given.json_schema and "description" in given.json_schema:
            return _lower(str(given.json_schema["description"]))
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inner[0], inner[1:])
    if origin is Literal:
        return " or ".join(f"`{_yaml(value)}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in inner if part is not NoneType))
    if origin is tuple:
        return f"list of {_words(inner[0])}" if inner[-1] is Ellipsis else f"{len(inner)} x {_words(inner[0])}"
    if origin is dict:
        return f"map of name to {_words(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    plain = next((word for kind, word in PLAIN.items() if kind == annotation), None)
    return plain or str(getattr(annotation, "__name__", annotation))


def _field_default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return ""
    if isinstance(default, BaseModel):
        given = default.model_dump(mode="json", by_alias=True, exclude_none=True)
        return f"`{_yaml(given)}`" if given else "as below"
    return f"`{_yaml(default)}`"


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple | frozenset):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return str(value)


def _checked_in() -> dict[str, list[str]]:
    """Modules that name each equation in their code."""
    found: dict[str, list[str]] = {equation.name: [] for equation in EQUATIONS}
    for room in ROOMS:
        for path in sorted((ROOT / room / "mixproof").rglob("*.py")):
            module = ".".join(path.relative_to(ROOT / room).with_suffix("").parts)
            if module in ("mixproof.ledger.equations", "mixproof.tokenize.audit.report"):
                continue
            for name in dict.fromkeys(re.findall(r'"(E\d+)"', path.read_text())):
                if name in found:
                    found[name].append(module)
    return found


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _paragraph(text: str) -> str:
    """The text before the first blank line, in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
