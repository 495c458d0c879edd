"""A spec file into a checked spec: the one way in.

YAML and the files it extends (`yaml_tree.py`) > one form (`forms.py`, `mixture_forms.py`) > models (`spec.py`) >
rules between keys (`checks.py`). Every problem found at one of these levels is told at once, a line each:
file, line, dotted key, what is wrong, what would be right. Whether files exist is not asked here.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .checks import find_problems
from .forms import normalize
from .key_positions import KeyPath, KeyPositions, Problem, nearest
from .spec import Spec
from .spec_part import NAME
from .yaml_tree import read_tree


@dataclass(frozen=True)
class LoadedSpec:
    """A spec and where it came from."""

    spec: Spec
    path: Path
    written: Spec | None = None
    """The spec as it is written, where `spec` has the parts of split sources instead."""

    @property
    def as_written(self) -> Spec:
        """The spec as its file has it, whatever was put into `spec` since."""
        return self.spec if self.written is None else self.written

    def with_parts(self, spec: Spec) -> LoadedSpec:
        """Replace split sources by their parts."""
        return LoadedSpec(spec, self.path, self.as_written)

    @property
    def base(self) -> Path:
        """The folder that relative paths in the spec start from."""
        return self.path.parent


def load_spec(path: Path) -> LoadedSpec:
    """Read, normalize and check a spec file.

    Raises:
        SpecError: naming file, line and dotted key of everything that is wrong.

    """
    tree = read_tree(path)
    positions = KeyPositions(tree.positions)
    problems: list[Problem] = []
    data = normalize(tree.data, problems)
    if problems:
        raise positions.error(problems)
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise positions.error([_problem(details) for details in error.errors()]) from None
    problems = find_problems(spec)
    if problems:
        raise positions.error(problems)
    return LoadedSpec(_with_initial_path(spec, path.parent).with_positions(positions), path)


def _with_initial_path(spec: Spec, base: Path) -> Spec:
    """Make the path of the initial checkpoint absolute: runs are planned where the spec's folder is forgotten."""
    given = spec.train.init_from
    if given is None:
        return spec
    absolute = given.model_copy(update={"checkpoint": str((base / given.checkpoint).resolve())})
    return spec.model_copy(update={"train": spec.train.model_copy(update={"init_from": absolute})})


def _problem(details: ErrorDetails) -> Problem:
    """Say a validation error of pydantic's in the spec's words."""
    path: KeyPath = tuple(details["loc"])
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    name = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        return Problem(path, f"there is no such key; {nearest(name, _known_keys(path[:-1]))}")
    if kind == "missing":
        return Problem(path[:-1], f"`{name}` is missing; add it")
    if kind == "value_error":
        return Problem(path, str(context["error"]))
    if kind == "literal_error":
        return Problem(path, f"{value!r} is none of {context['expected']}")
    if kind == "string_pattern_mismatch" and context.get("pattern") == NAME:
        return Problem(path, f"{value!r} is no name: letters, digits, dots, dashes and underscores")
    if kind == "too_short":
        return Problem(path, "is empty; name at least one")
    expected = _EXPECTED.get(kind)
    return Problem(path, f"should be {expected}, not {_shown(value)}" if expected else details["msg"])


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
    return "a list" if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else repr(value)


def _known_keys(path: KeyPath) -> list[str]:
    """Keys that the model at `path` has, as YAML spells them."""
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
    """Take annotations off, and of a union its model, or its first member."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        members = [_plain(member) for member in get_args(kind)]
        return next((member for member in members if _is_model(member)), members[0])
    return kind


def _is_model(kind: Any) -> bool:  # noqa: ANN401  a type annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel)
