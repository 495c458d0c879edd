"""Read YAML 1.2 into plain values with positions: no floats, `no` is text, duplicate keys are errors.

ruamel.yaml parses the file into nodes. The values are created here, because its own constructors turn `0.7` into a
float. Decimals become `Decimal`, whole numbers `int` (including `2_000`), dates stay text. `extends` names one
parent file: maps are merged, lists and single values are replaced, null removes a key. A relative path in a parent
is relative to the parent's folder and is rewritten relative to the child's.
"""

from __future__ import annotations

import os
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

MAX_NODES = 100_000
"""Far more values than any spec has; stops aliases that expand exponentially."""
MAX_DEPTH = 50
TAG = "tag:yaml.org,2002:"
PATH_KEYS = (
    ("sources", "*", "files"),
    ("sources", "*", "megatron"),
    ("heldout", "from"),
    ("decontaminate", "against"),
    ("tokenizer", "sentencepiece"),
    ("tokenizer", "huggingface"),
    ("train", "init_from"),
    ("train", "init_from", "checkpoint"),
)
"""Keys that hold paths. In a parent file these are relative to its folder."""


@dataclass(frozen=True)
class Tree:
    """A spec file's values and the positions of its keys."""

    data: dict[str, Any]
    positions: dict[KeyPath, KeyPosition]


def read_tree(path: Path) -> Tree:
    """Read a spec file and the files it extends, merged, without nulls.

    Raises:
        SpecError: when a file is missing or is not a YAML map, a key occurs twice, or `extends` is circular.
    """
    tree = _read_with_parents(path, ())
    return Tree(_without_nulls(tree.data), tree.positions)


def _read_with_parents(path: Path, children: tuple[Path, ...]) -> Tree:
    tree = _Reader(path).read()
    parent_name = tree.data.pop("extends", None)
    if parent_name is None:
        return tree
    position = tree.positions[("extends",)]
    if not isinstance(parent_name, str):
        raise SpecError(f"{position}: extends: must be one file, such as `extends: base.yaml`, not {parent_name!r}")
    parent_path = path.parent / parent_name
    chain = (*children, path)
    if parent_path.resolve() in {child.resolve() for child in chain}:
        circle = " > ".join(str(file) for file in (*chain, parent_path))
        raise SpecError(f"{position}: extends: circular: {circle}; remove one of them")
    if not parent_path.is_file():
        raise SpecError(f"{position}: extends: no such file: {parent_path}")
    parent = _read_with_parents(parent_path, chain)
    return _merge(_moved(parent, Path(os.path.relpath(parent_path.parent, path.parent))), tree)


class _Reader:
    """Turns one file's nodes into values and notes the line of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._positions: dict[KeyPath, KeyPosition] = {(): KeyPosition(path, 1)}
        self._nodes = 0

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
            raise SpecError(f"{self._path}:{line}: invalid YAML: {what}") from None
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise SpecError(f"{self._path}:{line}: invalid YAML: {error.reason}") from None
        except YAMLError as error:
            raise SpecError(f"{self._path}: invalid YAML: {error}") from None
        except RecursionError:
            raise SpecError(f"{self._path}: nested more than {MAX_DEPTH} levels deep") from None
        if not isinstance(node, MappingNode):
            raise SpecError(f"{self._path}: a spec must be a map that starts with `schema: 1` and `name: ...`")
        return Tree(self._map(node, ()), self._positions)

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
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self._error(key_node, path, "a key must be a name, not a list or a map")
            key, line = str(key_node.value), key_node.start_mark.line + 1
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
            values.append(self._value(item, (*path, index)))
        return values

    def _scalar(self, node: Node, path: KeyPath) -> object:
        text = str(node.value)
        make = _SCALARS.get(str(node.tag).removeprefix(TAG))
        if make is None:
            raise self._error(node, path, f"the tag {node.tag} has no meaning in a spec; remove it")
        try:
            return make(text)
        except (ValueError, ArithmeticError):
            return text

    def _check_tag(self, node: Node, path: KeyPath, name: str) -> None:
        if str(node.tag) != TAG + name:
            raise self._error(node, path, f"the tag {node.tag} has no meaning in a spec; remove it")

    def _error(self, node: Node, path: KeyPath, message: str) -> SpecError:
        positions = KeyPositions({**self._positions, path: KeyPosition(self._path, node.start_mark.line + 1)})
        return positions.error([Problem(path, message)])


def _integer(text: str) -> int:
    digits = text.replace("_", "")
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
    "null": lambda _: None,
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
        merged[key] = value
    return merged


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in data.items()
        if value is not None
    }


def _moved(tree: Tree, folder: Path) -> Tree:
    if folder == Path():
        return tree
    data = tree.data
    for keys in PATH_KEYS:
        data = _move(data, keys, folder)
    return Tree(data, tree.positions)


def _move(data: Any, keys: tuple[str, ...], folder: Path) -> Any:  # noqa: ANN401  any YAML value
    if not keys:
        if isinstance(data, list):
            return [_move(item, (), folder) for item in data]
        unaffected = not isinstance(data, str) or "://" in data or data.startswith(("/", "~"))
        return data if unaffected else (folder / data).as_posix()
    if not isinstance(data, dict):
        return data
    chosen = data if keys[0] == "*" else {keys[0]} & data.keys()
    return {key: _move(value, keys[1:], folder) if key in chosen else value for key, value in data.items()}
