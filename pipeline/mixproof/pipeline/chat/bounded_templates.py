"""Jinja's sandbox with limits: a template can take neither the memory nor the time of a machine.

Jinja's own sandbox keeps a template away from Python's internals, and bounds `range` to 100,000. Here every pass
through a loop or macro and every call, filter, test and operator is counted, with the size of what it reads and makes,
and so is the output; a rendering that exceeds `max_work`, makes a value of more than `max_chars`, or writes more than
that, ends with a SecurityError. Sizes are of values written out (`template_sizes.py`). The counts depend on the
template and its values only, so the same record is refused on every machine. What stays within the limits renders as in
Jinja's sandbox, except that `lipsum` and `random`, which differ from run to run, do not exist.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence, Sized
from typing import Any

import jinja2.nodes
from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from .template_sizes import (
    bits_of_power,
    bits_of_product,
    formatted,
    repeated,
    size_of,
    size_of_filter,
    size_of_method,
    steps_of,
)

MAX_CHARS = 256_000_000
MAX_WORK = 4_000_000
MAX_BITS = 1024
"""Of a whole number; arithmetic with longer ones takes time that grows with the square of their digits."""
CHARS_PER_STEP = 100
"""So many characters of a new value count as one step of a loop."""
UNREPEATABLE = frozenset({"lipsum", "random"})
"""A function and a filter whose results differ from run to run."""
_UNREAD = frozenset({"length", "count", "first", "last", "default", "d"})
"""Filters that do not look into a value."""
_READING_TESTS = frozenset({"in", "eq", "==", "equalto", "ne", "!=", "lower", "upper"})


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox for templates; one rendering at a time. Call `begin` before each."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})
    max_chars = MAX_CHARS
    max_work = MAX_WORK

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  Jinja's
        super().__init__(*arguments, **options)
        self._work = self._written = 0
        self.finalize = self.written  # Jinja passes it every value that is written
        self.globals = {name: each for name, each in self.globals.items() if name not in UNREPEATABLE}
        self.filters = {
            name: self._counted(name, each) for name, each in self.filters.items() if name not in UNREPEATABLE
        }
        reading: dict[str, Any] = {name: each for name, each in self.tests.items() if name in _READING_TESTS}
        self.tests = {**self.tests, **{name: self._counted(name, each) for name, each in reading.items()}}

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Add a filter, or replace one."""
        self.filters[name] = self._counted(name, function)

    def begin(self) -> None:
        """Count from zero."""
        self._work = self._written = 0

    def tick(self) -> None:
        """Count a pass through a loop or macro."""
        self._spend(1)

    def wrote(self, chars: int) -> None:
        """Count text of the template itself that is written."""
        self._written += chars
        self._allow(self._written)
        self._spend(chars // CHARS_PER_STEP)

    @pass_context  # so that Jinja writes nothing when it compiles a template
    def written(self, context: Any, value: Any) -> Any:  # noqa: ANN401  template values
        """Count a value that is written."""
        del context
        self.wrote(size_of(value))
        return value

    def made(self, value: Any) -> Any:  # noqa: ANN401  a template value
        """Count a new value, and refuse one that is too large."""
        if isinstance(value, int):
            self._allow_bits(value.bit_length())
        size = size_of(value)
        self._allow(size)
        self._spend(1 + size // CHARS_PER_STEP)
        return value

    def read(self, value: Any) -> Any:  # noqa: ANN401  a template value
        """Count a value that is compared or searched."""
        self._spend(1 + steps_of(value))
        return value

    def sliced(self, value: Any) -> Any:  # noqa: ANN401  a template value
        """Count a part of a value."""
        self._spend(1 + (len(value) if isinstance(value, Sized) else 0) // CHARS_PER_STEP)
        return value

    def concatenated(self, parts: Sequence[object]) -> str:
        """The operator `~`."""
        self._allow(sum(map(size_of, parts)))
        return self.made("".join(map(str, parts)))  # type: ignore[no-any-return]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401  template values
        """Apply an operator."""
        if operator == "**":
            self._allow_bits(bits_of_power(left, right))
        elif operator == "*":
            self._allow_bits(bits_of_product(left, right))
            self._allow(repeated(left, right))
        elif operator == "%" and isinstance(left, str | bytes):
            values = right if isinstance(right, tuple) else (right,)
            self._allow(formatted(left if isinstance(left, str) else left.decode("latin-1"), values))
        return self.made(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401  as above
        """Call a function or a method of a value."""
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format`
        value = getattr(method, "__self__", None)
        if value is self:  # what _Counting inserted
            return super().call(context, function, *arguments, **named)
        if isinstance(value, str | bytes | int):
            self._spend(sum(map(steps_of, (value, *arguments))))
            self._allow(size_of_method(value, method.__name__, arguments, named))
        return self.made(super().call(context, function, *arguments, **named))

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        counted: jinja2.nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        counted.set_environment(self)
        return counted

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter or test that is counted with the size of what it reads and makes."""

        @functools.wraps(function)
        def filtered(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  template values
            given = arguments[1:] if hasattr(function, "jinja_pass_arg") else arguments
            if name not in _UNREAD:
                self._spend(sum(map(steps_of, given)))
                self._allow(max(sum(map(size_of, given)), size_of_filter(name, given, named)))
            return self.made(function(*arguments, **named))

        return filtered

    def _allow(self, size: int) -> None:
        """Refuse a value before it is made."""
        if size > self.max_chars:
            raise SecurityError(f"a template makes more than {self.max_chars:,} characters, elements or digits at once")

    def _allow_bits(self, bits: int) -> None:
        if bits > MAX_BITS:
            raise SecurityError(f"a template makes a whole number of more than {MAX_BITS:,} bits at once")

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > self.max_work:
            raise SecurityError(f"a template takes more than {self.max_work:,} steps for one rendering")


class _Counting(NodeTransformer):
    """Lets loops, macros, output, comparisons and values with several parts count, and `~` check its result."""

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.Node:  # noqa: N802  Jinja's name
        return self._ticking(node)

    def visit_Macro(self, node: jinja2.nodes.Macro) -> jinja2.nodes.Node:  # noqa: N802
        return self._ticking(node)

    def visit_CallBlock(self, node: jinja2.nodes.CallBlock) -> jinja2.nodes.Node:  # noqa: N802
        return self._ticking(node)

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("concatenated", [jinja2.nodes.List(node.nodes)], node.lineno)

    def visit_Output(self, node: jinja2.nodes.Output) -> Any:  # noqa: ANN401, N802  one node or several
        self.generic_visit(node)
        chars = sum(len(each.data) for each in node.nodes if isinstance(each, jinja2.nodes.TemplateData))
        return [_statement("wrote", [jinja2.nodes.Const(chars)], node.lineno), node] if chars else node

    def visit_Compare(self, node: jinja2.nodes.Compare) -> jinja2.nodes.Node:  # noqa: N802
        """Equality with a literal takes no more time than the literal has characters."""
        self.generic_visit(node)
        sides = [node.expr, *(each.expr for each in node.ops)]
        with_literal = any(isinstance(each, jinja2.nodes.Const) for each in sides)
        if len(sides) == 2 and with_literal and node.ops[0].op in ("eq", "ne"):
            return node
        node.expr = _counted("read", node.expr)
        for each in node.ops:
            each.expr = _counted("read", each.expr)
        return node

    def visit_Getitem(self, node: jinja2.nodes.Getitem) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _counted("sliced", node) if isinstance(node.arg, jinja2.nodes.Slice) else node

    def visit_List(self, node: jinja2.nodes.List) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _counted("made", node) if len(node.items) > 1 else node

    def visit_Tuple(self, node: jinja2.nodes.Tuple) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _counted("made", node) if len(node.items) > 1 and node.ctx == "load" else node

    def visit_Dict(self, node: jinja2.nodes.Dict) -> jinja2.nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _counted("made", node) if len(node.items) > 1 else node

    def _ticking(self, node: Any) -> jinja2.nodes.Node:  # noqa: ANN401  a node with a body
        self.generic_visit(node)
        node.body.insert(0, _statement("tick", [], node.lineno))
        return node  # type: ignore[no-any-return]


def _call(name: str, arguments: list[jinja2.nodes.Expr], line: int) -> jinja2.nodes.Call:
    function = jinja2.nodes.EnvironmentAttribute(name)
    return jinja2.nodes.Call(function, arguments, [], None, None, lineno=line)


def _statement(name: str, arguments: list[jinja2.nodes.Expr], line: int) -> jinja2.nodes.ExprStmt:
    return jinja2.nodes.ExprStmt(_call(name, arguments, line), lineno=line)


def _counted(how: str, node: jinja2.nodes.Expr) -> jinja2.nodes.Expr:
    return node if isinstance(node, jinja2.nodes.Const) else _call(how, [node], node.lineno)
