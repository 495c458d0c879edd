"""Jinja's sandbox with limits: a template can take neither the memory nor the time of a machine.

Jinja's own sandbox keeps a template away from Python's internals, and bounds `range` to 100,000. Here every pass
through a loop or macro and every call, filter and operator is counted, with the size of what it makes; a rendering
that exceeds `max_work` or makes a value of more than `max_chars` ends with a SecurityError. The counts depend on the
template and its values only, so the same record is refused on every machine. What stays within the limits renders as in
Jinja's sandbox, except that `lipsum` and `random`, which differ from run to run, do not exist.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import jinja2.nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_CHARS = 256_000_000
MAX_WORK = 4_000_000
CHARS_PER_STEP = 100
"""So many characters of a new value count as one step of a loop."""
MAX_INDENT = 64
UNREPEATABLE = frozenset({"lipsum", "random"})
"""A function and a filter whose results differ from run to run."""
_NUMBER = re.compile(r"\d+")
_PADDING = {"ljust", "rjust", "center", "zfill"}


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox for templates; one rendering at a time. Call `begin` before each."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})
    max_chars = MAX_CHARS
    max_work = MAX_WORK

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  Jinja's
        super().__init__(*arguments, **options)
        self._work = 0
        self.globals = {name: each for name, each in self.globals.items() if name not in UNREPEATABLE}
        self.filters = {
            name: self._counted(name, each) for name, each in self.filters.items() if name not in UNREPEATABLE
        }

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Add a filter, or replace one."""
        self.filters[name] = self._counted(name, function)

    def begin(self) -> None:
        """Count from zero."""
        self._work = 0

    def tick(self) -> None:
        """Count a pass through a loop or macro."""
        self._spend(1)

    def concatenated(self, parts: Sequence[object]) -> str:
        """The operator `~`."""
        return self._made("".join(map(str, parts)))  # type: ignore[no-any-return]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401  template values
        """Apply an operator."""
        if operator == "**":
            self._allow(_digits(left, right))
        elif operator == "*":
            self._allow(_repeated(left, right))
        elif operator == "%" and isinstance(left, str | bytes):
            self._allow(_formatted(str(left), right if isinstance(right, tuple) else (right,)))
        return self._made(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401  as above
        """Call a function or a method of a value."""
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format`
        text = getattr(method, "__self__", None)
        if isinstance(text, str):
            self._allow(_size_of_method(text, method.__name__, arguments, named))
        return self._made(super().call(context, function, *arguments, **named))

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        counted: jinja2.nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        counted.set_environment(self)
        return counted

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def filtered(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  template values
            given = arguments[1:] if hasattr(function, "jinja_pass_arg") else arguments
            self._allow(_size_of_filter(name, given, named))
            return self._made(function(*arguments, **named))

        return filtered

    def _allow(self, size: float) -> None:
        """Refuse a value before it is made."""
        if size > self.max_chars:
            raise SecurityError(f"a template makes more than {self.max_chars:,} characters, elements or digits at once")

    def _made(self, value: Any) -> Any:  # noqa: ANN401  a template value
        size = len(value) if isinstance(value, str | bytes | list | tuple | dict) else 0
        self._allow(size)
        self._spend(1 + size // CHARS_PER_STEP)
        return value

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > self.max_work:
            raise SecurityError(f"a template takes more than {self.max_work:,} steps for one rendering")


class _Counting(NodeTransformer):
    """Lets loops and macros count, and the operator `~` check its result."""

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.Node:  # noqa: N802  Jinja's name
        return self._counted(node)

    def visit_Macro(self, node: jinja2.nodes.Macro) -> jinja2.nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_CallBlock(self, node: jinja2.nodes.CallBlock) -> jinja2.nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("concatenated", [jinja2.nodes.List(node.nodes)], node.lineno)

    def _counted(self, node: Any) -> jinja2.nodes.Node:  # noqa: ANN401  a node with a body
        self.generic_visit(node)
        node.body.insert(0, jinja2.nodes.ExprStmt(_call("tick", [], node.lineno), lineno=node.lineno))
        return node  # type: ignore[no-any-return]


def _call(name: str, arguments: list[jinja2.nodes.Expr], line: int) -> jinja2.nodes.Call:
    function = jinja2.nodes.EnvironmentAttribute(name)
    return jinja2.nodes.Call(function, arguments, [], None, None, lineno=line)


def _length(value: object) -> int:
    return len(value) if isinstance(value, Sized) else 0


def _whole(value: object) -> int:
    return max(0, value) if isinstance(value, int) else 0


def _digits(base: object, power: object) -> int:
    """Bits of base ** power, if both are whole."""
    return base.bit_length() * max(0, power) if isinstance(base, int) and isinstance(power, int) else 0


def _repeated(left: object, right: object) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() + right.bit_length()
    return max(_length(left) * _whole(right), _length(right) * _whole(left))


def _formatted(form: str, values: Sequence[object]) -> int:
    """Bound of the widths and precisions in a format string, and of those given as values."""
    written = sum(int(number[:12]) for number in _NUMBER.findall(form))
    return written + (max(map(_whole, values), default=0) if "*" in form or "{:{" in form else 0)


def _replaced(text: str, old: object, new: object) -> int:
    return text.count(str(old)) * _length(str(new))


def _size_of_method(text: str, name: str, given: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Bound of what a method of a text makes, beyond what it is given."""
    first = given[0] if given else None
    if name in _PADDING:
        return _whole(first)
    if name == "expandtabs":
        return text.count("\t") * _whole(first if given else named.get("tabsize"))
    if name in ("format", "format_map"):
        return _formatted(text, [*given, *named.values()])
    if name == "replace" and len(given) > 1:
        return _replaced(text, given[0], given[1])
    return len(text) * _length(first) if name == "join" else 0


def _size_of_filter(name: str, given: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Bound of what a filter makes, beyond what it is given."""
    value = given[0] if given else ""
    numbers = sum(map(_whole, [*given[1:], *named.values()]))
    texts = sum(len(each) for each in [*given[1:], *named.values()] if isinstance(each, str))
    if name == "center":
        return numbers
    if name in ("batch", "slice"):
        return numbers * CHARS_PER_STEP
    if name == "indent":
        return (str(value).count("\n") + 1) * (numbers + texts)
    if name == "wordwrap":
        return (len(str(value)) + 1) * texts
    if name == "replace" and len(given) > 2:
        return _replaced(str(value), given[1], given[2])
    if name == "join":
        return _length(value) * texts
    if name == "format":
        return _formatted(str(value), [*given[1:], *named.values()])
    return MAX_CHARS + 1 if name == "tojson" and numbers > MAX_INDENT else 0
