"""`regex`: drops documents that match a pattern anywhere, like datatrove's RegexFilter."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop, Options

VERSION = 1


def _compiles(pattern: str) -> str:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression of Python ({error})") from None
    if all(found.search(text) for text in ("", "\n", "a")):
        raise ValueError("matches every text, even an empty one, so every document would be dropped")
    return pattern


class RegexOptions(Options):
    """The options of datatrove's RegexFilter."""

    regex_exp: Annotated[str, AfterValidator(_compiles), Field(description="a regular expression of Python")]
    """A document is dropped if it matches anywhere in the text."""


def make_regex(options: RegexOptions) -> Apply:
    """Drop documents with a match, as `regex`."""
    search = re.compile(options.regex_exp).search

    def apply(document: Document) -> str | Drop:
        return Drop("regex") if search(document.text) else document.text

    return apply
