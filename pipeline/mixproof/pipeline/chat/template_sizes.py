"""How large values of a template are, and bounds of what its methods and filters make.

A value's size is what it takes when it is written out: characters, elements and digits, where a value that occurs in
several places counts in each of them. Twenty lists of two elements, each twice the one before, have a million elements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.utils import Namespace

ELEMENT_CHARS = 16
"""A text of one character in a list takes the memory of so many characters, or more."""
MAX_INDENT = 64
READ_CHARS_PER_STEP = 1000
"""So many characters of a value that is searched, compared or written count as one step of a loop."""
READ_PARTS_PER_STEP = 10
"""So many keys, values and elements count as one step."""
ESCAPED_CHARS = 6
"""The most characters that one becomes in HTML or JSON."""
ENDLESS = 1 << 62
"""Bound of what a template has no need for."""
_NUMBER = re.compile(r"\d+")
_NESTED = re.compile(r"\{[^{}]*\{")
_PADDING = {"ljust", "rjust", "center", "zfill"}
_SPLITTING = {"split", "rsplit", "splitlines"}
_ESCAPING = {"pprint", "escape", "e", "forceescape", "urlize", "xmlattr"}


def size_of(value: object) -> int:
    """Characters, elements and digits of a value, written out."""
    return len(value) if isinstance(value, str | bytes) else _measured(value, {})[0]


def steps_of(value: object) -> int:
    """Steps that it takes to read a value: long texts are read fast, containers part by part."""
    if isinstance(value, str | bytes):
        return len(value) // READ_CHARS_PER_STEP
    known: dict[int, tuple[int, int]] = {}
    size = _measured(value, known)[0]
    return size // READ_CHARS_PER_STEP + sum(parts for _, parts in known.values()) // READ_PARTS_PER_STEP


def _measured(value: object, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(size, parts) of a value; `known` are those of containers by id, which may occur many times."""
    if isinstance(value, str | bytes):
        return len(value), 1
    if isinstance(value, int):
        return 1 + value.bit_length() // 3, 1
    parts = _parts(value)
    if parts is None:
        return 1, 1
    if id(value) not in known:
        known[id(value)] = 1, 1  # a namespace may contain itself
        known[id(value)] = 1 + len(parts) + sum(_measured(part, known)[0] for part in parts), len(parts)
    return known[id(value)]


def _nesting(value: object, depth: int = 1) -> int:
    """How deep containers are nested; a value has been found small before, so each occurrence is visited."""
    return max((_nesting(part, depth + 1) for part in _parts(value) or ()), default=depth)


def _parts(value: object) -> list[object] | None:
    """What a container holds; None for anything else."""
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, Namespace):
        value = object.__getattribute__(value, "_Namespace__attrs")
    return [*value.keys(), *value.values()] if isinstance(value, dict) else None


def bits_of_power(base: object, power: object) -> int:
    """Bits of base ** power, if both are whole."""
    return base.bit_length() * max(0, power) if isinstance(base, int) and isinstance(power, int) else 0


def bits_of_product(left: object, right: object) -> int:
    """Bits of left * right, if both are whole."""
    return left.bit_length() + right.bit_length() if isinstance(left, int) and isinstance(right, int) else 0


def repeated(left: object, right: object) -> int:
    """Size of a text or list times a number."""
    if isinstance(left, int):
        left, right = right, left
    return size_of(left) * whole(right) if isinstance(left, str | bytes | list | tuple) else 0


def whole(value: object) -> int:
    """A positive whole number; 0 for anything else."""
    return max(0, value) if isinstance(value, int) else 0


def formatted(form: str, values: Sequence[object]) -> int:
    """Bound of a text with values in it: widths and precisions, those given as values, and the values themselves."""
    if _NESTED.search(form.replace("{{", "").replace("}}", "")):
        return ENDLESS  # a width that is put together from values
    written = sum(int(number[:12]) for number in _NUMBER.findall(form))
    fields = form.count("{") + form.count("%")
    stars = max(map(whole, values), default=0) if "*" in form else 0
    return len(form) + written + stars + fields * max(map(size_of, values), default=0)


def size_of_method(text: object, name: str, given: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Bound of what a method of a text makes, beyond what it is given. Methods of bytes have no use in a template."""
    if isinstance(text, bytes) or name in ("to_bytes", "translate"):
        return ENDLESS
    if not isinstance(text, str):
        return 0
    first = given[0] if given else None
    if name in _PADDING:
        return whole(first)
    if name == "expandtabs":
        return text.count("\t") * whole(first if given else named.get("tabsize"))
    if name in ("format", "format_map"):
        return formatted(text, [*given, *named.values()])
    if name == "replace" and len(given) > 1:
        return _replaced(text, given[0], given[1])
    if name in _SPLITTING:
        separator = first if given else named.get("sep")
        elements = text.count(separator) if isinstance(separator, str) and separator else len(text) // 2
        return elements * ELEMENT_CHARS
    return len(text) * _length(first) + size_of(first) if name == "join" else 0


def size_of_filter(name: str, given: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Bound of what a filter makes, beyond what it is given."""
    value = given[0] if given else ""
    numbers = sum(map(whole, [*given[1:], *named.values()]))
    texts = sum(len(each) for each in [*given[1:], *named.values()] if isinstance(each, str))
    if name == "center":
        return numbers
    if name in ("batch", "slice"):
        return numbers * 100
    if name == "indent":
        return (str(value).count("\n") + 1) * (numbers + texts)
    if name == "wordwrap":
        return (len(str(value)) + 1) * texts
    if name == "replace" and len(given) > 2:
        return _replaced(str(value), given[1], given[2])
    if name == "join":
        return _length(value) * texts
    if name == "format":
        return formatted(str(value), [*given[1:], *named.values()])
    if name == "list" and isinstance(value, str):
        return len(value) * ELEMENT_CHARS
    if name == "tojson":
        return ENDLESS if numbers > MAX_INDENT else size_of(value) * (ESCAPED_CHARS + numbers * _nesting(value))
    return size_of(value) * ESCAPED_CHARS if name in _ESCAPING else 0


def _length(value: object) -> int:
    return len(value) if hasattr(value, "__len__") else 0


def _replaced(text: str, old: object, new: object) -> int:
    return text.count(str(old)) * _length(str(new))
