r"""`pii`: replaces email addresses and public IP addresses, found by datatrove's expressions, with fixed ones.

Difference from datatrove: in every document, replacements are used in turn from the first. datatrove continues the turn
from document to document, so that a text depends on the documents before it.

The expressions are skipped for texts that cannot match: those without `@`, or without digits around dots. That for
email addresses takes time with the square of a run of marks such as `a!a!`, so it is tried only around each `@`.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Options, Strings

VERSION = 1
_LOCAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~-.")
_IP_LIKE = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")

Replacements = Annotated[Strings, Field(min_length=1)]


class PiiOptions(Options):
    """The options of datatrove's PIIFormatter."""

    remove_emails: bool = True
    remove_ips: bool = True
    only_remove_public_ips: bool = True
    email_replacement: Replacements = ("email@example.com", "firstname.lastname@example.org")
    """Used in turn."""
    ip_replacement: Replacements = (
        "22.214.171.124",
        "126.96.36.199",
        "188.8.131.52",
        "184.108.40.206",
        "220.127.116.11",
        "18.104.22.168",
    )
    """Used in turn; according to datatrove, none of them responds."""


def make_pii(options: PiiOptions) -> Apply:
    """Replace addresses; no document is dropped."""
    formatter = importlib.import_module("datatrove.pipeline.formatters").PIIFormatter(**options.model_dump())
    emails, ips = formatter.emails_replacer, formatter.ip_replacer

    def apply(document: Document) -> str:
        text = document.text
        if options.remove_emails and "@" in text:
            text = replace_emails(text, emails.regex, options.email_replacement)
        if options.remove_ips and _IP_LIKE.search(text):
            ips._replace_i = 0
            text = ips.replace(text)
        return text

    return apply


def replace_emails(text: str, address: re.Pattern[str], replacements: Sequence[str]) -> str:
    """Replace all matches of datatrove's expression for an email address, in time linear in the text's length.

    A match holds one `@`, before it parts of `_LOCAL` with single dots between them, and after it a domain. Where these
    are there, the expression matches from the first word boundary on, so it never looks for a match in vain.
    """
    parts: list[str] = []
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = _domain_of(address.pattern).match(text, at + 1)
        start = _local_start(text, done, at) if domain is not None else at
        found = address.search(text, start, domain.end()) if domain is not None and start < at else None
        if found is not None:
            parts += (text[done : found.start()], replacements[len(parts) // 2 % len(replacements)])
            done = found.end()
        at = text.find("@", max(at + 1, done))
    return "".join((*parts, text[done:]))


@functools.cache
def _domain_of(address: str) -> re.Pattern[str]:
    """The part of the expression after the `@`."""
    return re.compile(address.partition(")*@")[2])


def _local_start(text: str, first: int, at: int) -> int:
    """Where the characters that may stand before an `@` begin, from `first` on; `at` where none do."""
    start = at
    if at and text[at - 1] == ".":
        return at
    while start > first and text[start - 1] in _LOCAL and text[start - 1 : start + 1] != "..":
        start -= 1
    return start
