r"""`pii`: email addresses and public IP addresses give way to fixed ones, found by datatrove's expressions.

Differs from datatrove: replacements are taken in turn from the first one on in every document. datatrove's run on
from document to document, so that a text would depend on those before it.

A text without `@` has no address to look for, nor has one without three runs of digits with dots between them.
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
    """As datatrove's PIIFormatter."""

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
    """Used in turn; datatrove found that none of them answers."""


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
