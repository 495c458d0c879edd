"""Prompt templates of evaluation tasks in a sandbox: Jinja's own, with limits on what an expression may make.

A template may neither reach Python's internals nor change the document, and it cannot fill the memory: `range` has at
most 100,000 steps (Jinja's limit), and a repetition or power makes at most `MAX_CHARS` characters or digits. Templates
that stay within these render as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARS = 10_000_000


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment in which templates are rendered."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401  as Jinja declares
        """Multiply or raise to a power unless the result could be enormous.

        Raises:
            SecurityError: when it could.
        """
        if _size(operator, left, right) > MAX_CHARS:
            raise SecurityError(f"`{operator}` would make more than {MAX_CHARS:,} characters, elements or digits")
        return super().call_binop(context, operator, left, right)


def _size(operator: str, left: Any, right: Any) -> float:  # noqa: ANN401  any values of a template
    """Bound of the characters, elements or digits of a result."""
    if operator == "**":
        is_whole = isinstance(left, int) and isinstance(right, int)
        return left.bit_length() * max(0, right) if is_whole else 0
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, str | bytes | list | tuple) and isinstance(times, int):
            return len(sequence) * max(0, times)
    return 0


def sandbox_of(environment: Environment) -> TemplateSandbox:
    """A sandbox with the filters of another environment, and its treatment of white space."""
    sandbox = TemplateSandbox(
        loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=environment.keep_trailing_newline
    )
    sandbox.filters.update(environment.filters)
    return sandbox


@contextmanager
def sandboxed_templates() -> Iterator[None]:
    """Let lm-evaluation-harness render its templates in the sandbox."""
    from lm_eval import utils  # slow to import

    known = utils.env
    utils.env = sandbox_of(known)
    try:
        yield
    finally:
        utils.env = known
