"""Load a spec file into a checked spec. This is the only entry point.

YAML and the files it extends (`yaml_tree.py`) > normalized form (`forms.py`, `mixture_forms.py`) > models
(`spec.py`) > rules between keys (`checks.py`). All problems found at one of these levels are reported together, one
line each: file, line, dotted key, what is wrong, what would be right. Whether files exist is checked later.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .blocks.labels import LABEL_NAME
from .blocks.source import JinjaTemplate
from .checks import find_problems
from .forms import normalize
from .key_positions import KeyPath, KeyPositions, Problem, nearest
from .spec import Spec
from .values.chat_templates import is_inline_template
from .values.spec_part import NAME, NAME_RULE
from .yaml_tree import NO_VALUE, read_tree

MUST_BE = "must be "
KIND = re.compile(r"bool|str|int|literal\[.*|function-plain\[.*")
"""What pydantic adds to the path of a value that may be of several kinds."""
STEP_DEPTH = 5
"""Length of a step's path: `("sources", "code", "steps", 0, "length")`."""


@dataclass(frozen=True)
class LoadedSpec:
    """A spec and where it came from."""

    spec: Spec
    path: Path
    written: Spec | None = None
    """The spec as written, when `spec` has the parts of split sources instead."""

    @property
    def as_written(self) -> Spec:
        """The spec as written in its file, even when `spec` has the parts of split sources."""
        return self.spec if self.written is None else self.written

    def with_parts(self, spec: Spec) -> LoadedSpec:
        """Replace the spec by one that has the parts of split sources."""
        return LoadedSpec(spec, self.path, self.as_written)

    @property
    def base(self) -> Path:
        """The folder to which relative paths in the spec refer."""
        return self.path.parent


def load_spec(path: Path) -> LoadedSpec:
    """Read, normalize and check a spec file.

    Raises:
        SpecError: naming file, line and dotted key of everything that is wrong.

    """
    tree = read_tree(path)
    positions = KeyPositions(tree.positions, path.parent)
    problems: list[Problem] = []
    data = normalize(_without_nulls(tree.data, (), problems), problems)
    if problems:
        raise positions.error(problems)
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise positions.error(_problems(error.errors())) from None
    problems = find_problems(spec)
    if problems:
        raise positions.error(problems)
    spec = _with_templates(spec, path.parent, problems)
    if problems:
        raise positions.error(problems)
    return LoadedSpec(_with_initial_path(spec, path.parent).with_positions(positions), path)


def _with_templates(spec: Spec, base: Path, problems: list[Problem]) -> Spec:
    """Read the chat templates that are files, because a template is part of a build's identity and its path is not."""
    sources = dict(spec.sources)
    for name, source in spec.sources.items():
        if isinstance(source.template, JinjaTemplate) and not is_inline_template(source.template.jinja):
            try:
                text = (base / source.template.jinja).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                message = f"cannot read {source.template.jinja!r}: {reason}; name a file, or write the template here"
                problems.append(Problem(("sources", name, "template", "jinja"), message))
                continue
            sources[name] = source.model_copy(update={"template": JinjaTemplate(jinja=text)})
    return spec if sources == spec.sources else spec.model_copy(update={"sources": sources})


def _with_initial_path(spec: Spec, base: Path) -> Spec:
    """Make the path of the initial checkpoint absolute, because runs do not know the spec's folder."""
    given = spec.train.init_from
    if given is None:
        return spec
    absolute = given.model_copy(update={"checkpoint": str((base / given.checkpoint).resolve())})
    return spec.model_copy(update={"train": spec.train.model_copy(update={"init_from": absolute})})


def _without_nulls(data: dict[str, Any], path: KeyPath, problems: list[Problem]) -> dict[str, Any]:
    """Leave out keys of the models that are null: that is their default. Other nulls that are left are errors.

    A null that removes a parent's key has been applied by now (`yaml_tree.py`). In lists, only keys without a value
    are errors; the models check explicit nulls there.
    """
    result: dict[str, Any] = {}
    known = _known_keys(path)
    free_names = path[:1] == ("mixtures",)  # sources beside the keys of a mixture
    for key, value in data.items():
        below = (*path, key)
        if known and key not in known and not free_names and value is not None and value is not NO_VALUE:
            result[key] = _without_empty_keys(value, below, [])  # the model reports the unknown key
        elif isinstance(value, dict):
            result[key] = _without_nulls(value, below, problems)
        elif value is None or value is NO_VALUE:
            if message := _null_problem(key, () if free_names and key not in known else known, has_value=value is None):
                problems.append(Problem(below, message))
        else:
            result[key] = _without_empty_keys(value, below, problems)
    return result


def _null_problem(key: str, known: Collection[str], *, has_value: bool) -> str:
    """What is wrong with a null that no parent file has a value for; "" for a known key that is explicitly null.

    `known` is empty for maps with free names.
    """
    if known and key not in known:
        return f"unknown key; {nearest(key, known)}"
    if not has_value:
        return "has no value; give one, or remove the key"
    return "" if known else "there is nothing to remove: no parent file has this key"


def _without_empty_keys(value: Any, path: KeyPath, problems: list[Problem]) -> Any:  # noqa: ANN401  a YAML value
    """Report keys without a value, as `fields` in `against: [{files: x.jsonl, fields}]`, which would mean a default.

    A step without options may be written as `- length:`.
    """
    if isinstance(value, list):
        return [_without_empty_keys(item, (*path, index), problems) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _without_empty_keys(item, (*path, key), problems) for key, item in value.items()}
    if value is not NO_VALUE:
        return value
    if not (path[:1] == ("sources",) and path[2:3] == ("steps",) and len(path) == STEP_DEPTH):
        problems.append(Problem(path, _null_problem("", (), has_value=False)))
    return None


def _problems(errors: Sequence[ErrorDetails]) -> list[Problem]:
    """Turn pydantic's errors into problems.

    Of a list or map with a wrong entry, only the entry is reported: not that it is too short, or no number.
    """
    return _joined([_problem(details) for details in errors if not _is_about_an_entry(details, errors)])


def _is_about_an_entry(details: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Whether an error of a whole list or map only follows from that of an entry."""
    if details["type"] != "too_short" and not isinstance(details["input"], dict):
        return False
    place = _place(details)
    others = [tuple(other["loc"]) for other in errors if other is not details]
    return any(len(other) > len(place) and other[: len(place)] == place for other in others)


def _place(details: ErrorDetails) -> tuple[int | str, ...]:
    """Where a value is, without what pydantic adds for one of several kinds."""
    location = tuple(details["loc"])
    return location[:-1] if location and KIND.fullmatch(str(location[-1])) else location


def _joined(problems: Sequence[Problem]) -> list[Problem]:
    """One problem for a value that could have been of several kinds: `must be true or false, or text, not 1`."""
    expected: dict[tuple[KeyPath, str], list[str]] = {}
    others: list[Problem] = []
    for problem in problems:
        start, _, found = problem.message.rpartition(", not ")
        if start.startswith(MUST_BE):
            path = problem.path[:-1] if KIND.fullmatch(str(problem.path[-1])) else problem.path
            expected.setdefault((path, found), []).append(start.removeprefix(MUST_BE))
        else:
            others.append(problem)
    joined = [Problem(path, _must_be(", or ".join(kinds), found)) for (path, found), kinds in expected.items()]
    return [*joined, *others]


def _must_be(expected: str, found: str) -> str:
    close = difflib.get_close_matches(found.strip("'"), re.findall(r"'([^']+)'", expected), n=1)
    return f"{MUST_BE}{expected}, not {found}" + (f"; did you mean {close[0]!r}?" if close else "")


def _problem(details: ErrorDetails) -> Problem:
    """Turn a pydantic validation error into a problem in the terms of the spec."""
    path: KeyPath = tuple(details["loc"])
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    name = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        return Problem(path, f"unknown key; {nearest(name, _known_keys(path[:-1]))}")
    if kind == "missing":
        return Problem(path[:-1], f"`{name}` is missing; add it")
    if kind == "value_error":
        return Problem(path, str(context["error"]))
    if kind == "literal_error":
        return Problem(path, f"must be {context['expected']}, not {_shown(value)}")
    if kind == "string_pattern_mismatch" and context.get("pattern") == NAME:
        return Problem(path, f"{value!r} is not a valid name: {NAME_RULE}")
    if kind == "string_pattern_mismatch" and context.get("pattern") == LABEL_NAME:
        return Problem(path, f"{value!r} is not a valid name: {NAME_RULE}, or with an underscore")
    if kind == "string_too_long":
        message = f"the name has {len(str(value)):,} characters; at most {context['max_length']} are possible"
        return Problem(path, message)
    if kind == "too_short":
        if context["actual_length"] == 0:
            return Problem(path, "is empty; give at least one entry")
        return Problem(path, f"needs at least {context['min_length']} entries, and has {context['actual_length']}")
    expected = _EXPECTED.get(kind)
    return Problem(path, f"must be {expected}, not {_shown(value)}" if expected else details["msg"])


_EXPECTED = {
    "string_type": "text (put it in quotes)",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "greater_than_equal": "0 or more",
}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, Decimal) else repr(value)


def _known_keys(path: KeyPath) -> list[str]:
    """Keys of the model at `path`, as spelled in YAML."""
    kind: Any = Spec
    for step in path:
        kind = _below(kind, step)
    return [field.alias or name for name, field in kind.model_fields.items()] if _is_model(kind) else []


def _below(kind: Any, step: str | int) -> Any:  # noqa: ANN401  a type annotation
    if _is_model(kind):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        return _plain(fields[str(step)].annotation) if step in fields else kind
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return _plain(arguments[1])
    return _plain(arguments[0]) if get_origin(kind) is tuple else kind


def _plain(kind: Any) -> Any:  # noqa: ANN401  a type annotation
    """Strip annotations; of a union, take its model, or else its first member."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        members = [_plain(member) for member in get_args(kind)]
        return next((member for member in members if _is_model(member)), members[0])
    return kind


def _is_model(kind: Any) -> bool:  # noqa: ANN401  a type annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel)
