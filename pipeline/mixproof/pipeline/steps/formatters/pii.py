r"""`pii`: replaces email addresses and public IP addresses, found by datatrove's expressions, with fixed ones.

Difference from datatrove: in every document, replacements are used in turn from the first. datatrove continues the turn
from document to document, so that a text depends on the documents before it.

The expressions are skipped for texts that cannot match: those without `@`, or without digits around dots.
"""

from __future__ import annotations

import importlib
import re
from typing import Annotated

from pydantic import Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Options, Strings

VERSION = 1
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
            emails._replace_i = 0
            text = emails.replace(text)
        if options.remove_ips and _IP_LIKE.search(text):
            ips._replace_i = 0
            text = ips.replace(text)
        return text

    return apply
