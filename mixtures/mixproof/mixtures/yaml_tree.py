"""Read YAML 1.2 into plain values with positions: no floats, `no` is text, duplicate keys are errors.

ruamel.yaml parses the file into nodes. The values are created here, because its own constructors turn `0.7` into a
float. Decimals become `Decimal`, whole numbers `int` (including `2_000`), dates stay text. `extends` names one
parent file: maps are merged, lists and single values are replaced, null removes a key that the parent has.

A comma inside a number splits a flow map: `{tokens: 1,024}` is `tokens: 1` and a key `024` without a value. Such keys,
and other keys without a value, are errors; `load.py` decides about nulls, because it knows the models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from .errors import SpecError
from .key_positions import KeyPath, KeyPosition, KeyPositions, Problem
from .spec_paths import HomeError, moved, with_home

MAX_NODES = 100_000
"""Far more values than any spec has; stops aliases that expand exponentially."""
MAX_CHARS = 10_000_000
"""Of all values; stops aliases of one long text."""
MAX_DEPTH = 50
MAX_DIGITS = 1000
"""Longer numbers stay text: Python does not print them."""
TAG = "tag:yaml.org,2002:"
NUMBER = re.compile(r"[+-]?[0-9][0-9_]*(\.[0-9_]+)?")
NUMBER_TAIL = re.compile(r"[0-9][0-9_]*(\.[0-9_]+)?([eE][-+]?[0-9]+)?\s*([KMGTBkmgtb]{1,2}|%)?")
"""What follows a comma in a number such as `1,024`, `0,5%` or `1,5B`."""


class _NoValue:
    """A key without a value, as in `{fuzzy}` or `objective:`; an explicit `null` is None."""


NO_VALUE = _NoValue()


@dataclass(frozen=True)
class Tree:
    """A spec file's values and the positions of its keys."""

    data: dict[str, Any]
    """None or `NO_VALUE` for a null that no parent file has a value for."""
    positions: dict[KeyPath, KeyPosition]


def read_tree(path: Path) -> Tree:
    """Read a spec file and the files it extends, merged.

    Raises:
        SpecError: when a file is missing or is not a YAML map, a key occurs twice, or `extends` is circular.
    """
    return _read_with_parents(path, ())


def _read_with_parents(path: Path, children: tuple[Path, ...]) -> Tree:
    tree = _Reader(path).read()
    parent_name = tree.data.pop("extends", None)
    if parent_name is None:  # no key, or an explicit null
        return tree
    position = tree.positions[("extends",)]
    if not isinstance(parent_name, str):
        found = "nothing" if parent_name is NO_VALUE else repr(parent_name)
        raise SpecError(f"{position}: extends: must be one file, such as `extends: base.yaml`, not {found}")
    try:
        parent_path = path.parent / Path(parent_name).expanduser()
    except RuntimeError:
        raise SpecError(f"{position}: extends: {parent_name!r}: no such home folder") from None
    chain = (*children, path)
    if parent_path.resolve() in {child.resolve() for child in chain}:
        circle = " > ".join(str(file) for file in (*chain, parent_path))
        raise SpecError(f"{position}: extends: circular: {circle}; remove one of them")
    if not parent_path.is_file():
        raise SpecError(f"{position}: extends: no such file: {parent_path}")
    parent = _read_with_parents(parent_path, chain)
    folder = Path(os.path.relpath(parent_path.parent, path.parent))
    return _merge(parent if folder == Path() else Tree(moved(parent.data, folder), parent.positions), tree)


class _Reader:
    """Turns one file's nodes into values and notes the line of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._positions: dict[KeyPath, KeyPosition] = {(): KeyPosition(path, 1)}
        self._nodes = 0
        self._chars = 0

    def read(self) -> Tree:
        try:
            text = self._path.read_text(encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise SpecError(f"{self._path}: no such spec file") from None
        except UnicodeDecodeError as error:
            raise SpecError(f"{self._path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
        try:
            node = YAML(typ="rt", pure=True).compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            what = ", ".join(part for part in (error.context, error.problem) if part)
            raise SpecError(f"{self._path}:{line}: invalid YAML: {what}{_quotes(what)}") from None
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise SpecError(f"{self._path}:{line}: invalid YAML: {error.reason}") from None
        except YAMLError as error:
            raise SpecError(f"{self._path}: invalid YAML: {error}") from None
        except RecursionError:
            raise SpecError(f"{self._path}: nested more than {MAX_DEPTH} levels deep") from None
        if not isinstance(node, MappingNode):
            raise SpecError(f"{self._path}: a spec must be a map that starts with `schema: 1` and `name: ...`")
        data = self._map(node, ())
        try:
            return Tree(with_home(data), self._positions)
        except HomeError as error:
            raise KeyPositions(self._positions).error([Problem(error.path, str(error))]) from None

    def _value(self, node: Node, path: KeyPath) -> Any:  # noqa: ANN401  a YAML value
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._error(node, path, f"more than {MAX_NODES} values, or nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, MappingNode):
            return self._map(node, path)
        if isinstance(node, SequenceNode):
            return self._list(node, path)
        return self._scalar(node, path)

    def _map(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        self._check_tag(node, path, "map")
        for index, (key_node, value_node) in enumerate(node.value):
            if not isinstance(key_node, ScalarNode):
                raise self._error(key_node, path, "a key must be a name, not a list or a map")
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if _splits_number(node, index):
                raise self._error(key_node, (*path, str(node.value[index - 1][0].value)), _comma_message(node, index))
            if key in values:
                message = f"duplicate key, first given in line {first_line[key]}; remove one"
                raise self._error(key_node, (*path, key), message)
            first_line[key] = line
            self._positions[(*path, key)] = KeyPosition(self._path, line)
            values[key] = self._value(value_node, (*path, key))
        return values

    def _list(self, node: SequenceNode, path: KeyPath) -> list[Any]:
        self._check_tag(node, path, "seq")
        values = []
        for index, item in enumerate(node.value):
            self._positions[(*path, index)] = KeyPosition(self._path, item.start_mark.line + 1)
            if index and node.flow_style and _is_rest_of_number(node.value[index - 1], item):
                whole, tail = str(node.value[index - 1].value), str(item.value)
                message = f"{whole},{tail} is two entries, {whole} and {tail}; write {whole}_{tail} for one number"
                raise self._error(item, (*path, index), message)
            value = self._value(item, (*path, index))
            values.append(None if value is NO_VALUE else value)
        return values

    def _scalar(self, node: Node, path: KeyPath) -> object:
        text = str(node.value)
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            raise self._error(node, path, f"more than {MAX_CHARS:,} characters of values, those of aliases included")
        make = _SCALARS.get(str(node.tag).removeprefix(TAG))
        if make is None:
            raise self._error(node, path, f"the tag {node.tag} has no meaning in a spec; remove it")
        try:
            return make(text)
        except (ValueError, ArithmeticError, KeyError):  # `yes` is a boolean under %YAML 1.1, but not here
            return text

    def _check_tag(self, node: Node, path: KeyPath, name: str) -> None:
        if str(node.tag) != TAG + name:
            raise self._error(node, path, f"the tag {node.tag} has no meaning in a spec; remove it")

    def _error(self, node: Node, path: KeyPath, message: str) -> SpecError:
        positions = KeyPositions({**self._positions, path: KeyPosition(self._path, node.start_mark.line + 1)})
        return positions.error([Problem(path, message)])


def _quotes(problem: str) -> str:
    """What to do about a value that YAML reads as something else; a pattern such as `*.jsonl` begins an alias."""
    if "alias" in problem:
        return '; a value that begins with * or & must be in quotes, as in "*.jsonl"'
    if "cannot start any token" in problem:
        return "; a value that begins with this character must be in quotes"
    return ""


def _splits_number(node: MappingNode, index: int) -> bool:
    """Whether a key of a flow map is what follows a comma in a number, as `024` in `{tokens: 1,024}`."""
    if not node.flow_style or index == 0:
        return False
    key, value = node.value[index]
    before = node.value[index - 1][1]
    return (
        isinstance(value, ScalarNode)
        and not value.value
        and isinstance(before, ScalarNode)
        and NUMBER.fullmatch(str(before.value)) is not None
        and NUMBER_TAIL.fullmatch(str(key.value)) is not None
    )


def _is_rest_of_number(before: Node, item: Node) -> bool:
    """Whether an entry of a flow list is what follows a comma in a number, as `024` in `[1,024]`.

    `[1,100]` may be meant as two entries; zeros at the start of a number are not.
    """
    return (
        isinstance(before, ScalarNode)
        and isinstance(item, ScalarNode)
        and NUMBER.fullmatch(str(before.value)) is not None
        and re.fullmatch(r"0[0-9]{2}", str(item.value)) is not None
    )


def _comma_message(node: MappingNode, index: int) -> str:
    whole, tails = str(node.value[index - 1][1].value), []
    for key, value in node.value[index:]:
        if not (isinstance(value, ScalarNode) and not value.value and NUMBER_TAIL.fullmatch(str(key.value))):
            break
        tails.append(str(key.value))
    groups = [re.match(r"[0-9]*", tail) for tail in tails]
    advice = [f"{whole}.{tails[0]} for a decimal"] if len(tails) == 1 else []
    if all(group is not None and len(group[0]) == 3 for group in groups):
        advice.append(f"{'_'.join((whole, *tails))} for a whole number")
    return (
        f"a comma ends a value, so {','.join((whole, *tails))} is {whole} and a key {tails[0]}; "
        f"write {' or '.join(advice) or 'numbers without commas'}"
    )


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    if len(digits) > MAX_DIGITS:
        raise ValueError(text)
    based = digits.lower().lstrip("+-")[:2] in ("0x", "0o", "0b")
    return int(digits, 0) if based else int(digits)


def _decimal(text: str) -> Decimal:
    number = Decimal(text.replace("_", ""))
    if not number.is_finite():
        raise ValueError(text)
    return number


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_SCALARS: dict[str, Callable[[str], object]] = {
    "str": str,
    "int": _integer,
    "float": _decimal,
    "bool": _boolean,
    "null": lambda text: None if text else NO_VALUE,
    "timestamp": str,
    "merge": str,
    "value": str,
}


def _merge(parent: Tree, child: Tree) -> Tree:
    positions = dict(parent.positions)
    data = _merge_maps(parent.data, child.data, (), positions)
    positions.update(child.positions)
    return Tree(data, positions)


def _merge_maps(
    parent: dict[str, Any], child: dict[str, Any], path: KeyPath, positions: dict[KeyPath, KeyPosition]
) -> dict[str, Any]:
    merged = dict(parent)
    for key, value in child.items():
        below = (*path, key)
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge_maps(merged[key], value, below, positions)
            continue
        for position in [position for position in positions if position[: len(below)] == below]:
            del positions[position]
        if key in merged and (value is None or value is NO_VALUE):
            del merged[key]
        else:
            merged[key] = value
    return merged
