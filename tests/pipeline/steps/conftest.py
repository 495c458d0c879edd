"""Steps applied to single texts, and datatrove's own filters beside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pydoc_data.topics import topics
from typing import Any

import pytest
from datatrove.data import Document as DatatroveDocument

from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps import Drop, make_steps
from mixproof.pipeline.steps.document import Document

Decide = Callable[[str], tuple[str | None, str]]
"""The reason a text goes, or None; and the text that stays."""


@pytest.fixture(scope="session")
def decide() -> Callable[..., Decide]:
    """Make a step decide on texts: `decide("length", min_chars=3)("ab") == ("too_short", "")`."""

    def make(name: str, **options: Any) -> Decide:  # noqa: ANN401 - a spec's values
        (step,) = make_steps([Step(name=name, options=options)])

        def run(text: str) -> tuple[str | None, str]:
            result = step.apply(Document(Raw(0, None, text)))
            return (result.reason, "") if isinstance(result, Drop) else (None, result)

        return run

    return make


@pytest.fixture(scope="session")
def datatrove_decides() -> Callable[..., Decide]:
    """Make a filter of datatrove's decide in the same form."""

    def make(made: Any) -> Decide:  # noqa: ANN401 - datatrove ships no types
        def run(text: str) -> tuple[str | None, str]:
            document = DatatroveDocument(text=text, id="")
            decision = made.filter(document)
            keep, reason = decision if isinstance(decision, tuple) else (decision, "filtered")
            return (None, document.text) if keep else (reason, "")

        return run

    return make


@pytest.fixture(scope="session")
def manual() -> list[str]:
    """Real English text of many kinds: sections of the language manual, with tables, code and lists, 100 KB."""
    sections = [part for text in topics.values() for part in re.split(r"\n(?=[^\n]+\n[=*-]{4,}\n)", text)]
    return [section[:4000] for section in sections if len(section) > 200][::6][:40]
