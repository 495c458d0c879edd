"""Prompt templates of evaluation tasks in a sandbox.

A template may neither reach Python's internals nor change the document. What it makes and how long it takes are bounded
as for chat templates, with `MAX_CHARS` characters or elements per value. Templates that stay within the limits render
as in the harness.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, Template

from mixproof.pipeline.chat.bounded_templates import UNREPEATABLE, BoundedEnvironment

MAX_CHARS = 10_000_000


class TemplateSandbox(BoundedEnvironment):
    """The environment in which templates are rendered."""

    max_chars = MAX_CHARS

    def from_string(self, *arguments: Any, **options: Any) -> Template:  # noqa: ANN401  Jinja's
        """Compile a template; the harness does so for each rendering."""
        self.begin()
        return super().from_string(*arguments, **options)


def sandbox_of(environment: Environment) -> TemplateSandbox:
    """A sandbox with the filters of another environment, and its treatment of white space."""
    sandbox = TemplateSandbox(
        loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=environment.keep_trailing_newline
    )
    for name in environment.filters.keys() - BoundedEnvironment().filters.keys() - UNREPEATABLE:
        sandbox.add_filter(name, environment.filters[name])
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
