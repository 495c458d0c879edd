r"""`pii`: replaces personal data and secrets, or drops documents that have them.

Email addresses and public IP addresses are found by datatrove's expressions and replaced with fixed ones. Telephone
numbers, credit card numbers, IBANs and secrets are looked for where the spec says `replace` or `drop`. They are found
by their forms and check digits and replaced with their names, such as `<IBAN>`; then the account counts every kind.

Difference from datatrove: in every document, replacements are used in turn from the first. datatrove continues the turn
from document to document, so that a text depends on the documents before it.

The expressions are skipped for texts that cannot match: those without `@`, or without digits around dots. That for
email addresses takes time with the square of a run of marks such as `a!a!`, so it is tried only around each `@`.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop, Options, Strings

from .account_numbers import find_credit_cards, find_ibans
from .phone_numbers import find_phone_numbers
from .secret_keys import find_secrets

VERSION = 3
"""2: cards with two different digits, such as 4111 1111 1111 1111, are cards. 3: dotted versions, dates, years, amounts
and what follows `ISBN`, `version`, `invoice` and the like are not telephone numbers."""
_LOCAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~-.")
_IP_LIKE = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")

Span = tuple[int, int]
FINDERS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "secret": find_secrets,
    "iban": find_ibans,
    "credit_card": find_credit_cards,
    "phone_number": find_phone_numbers,
}
"""What is looked for, in this order; a replaced text has no digits for the next one to find."""
Handling = Literal["replace", "drop"]
Replacements = Annotated[Strings, Field(min_length=1)]


class PiiOptions(Options):
    """The options of datatrove's PIIFormatter, and what to do with other kinds."""

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
    phone_number: Handling | None = None
    """Telephone numbers with a country code, of North America, or after a word such as `Tel`. Default: they stay."""
    credit_card: Handling | None = None
    """Credit card numbers with a known prefix and a valid check digit."""
    iban: Handling | None = None
    """International bank account numbers with valid check digits."""
    secret: Handling | None = None
    """Keys with the prefixes of AWS, GitHub, GitLab, Slack, Google, OpenAI, Anthropic, Stripe, Hugging Face, npm, PyPI
    and SendGrid, and blocks of private keys."""

    @property
    def others(self) -> dict[str, Handling]:
        """What to do with each kind that is not datatrove's and is looked for."""
        given = {kind: getattr(self, kind) for kind in FINDERS}
        return {kind: handling for kind, handling in given.items() if handling is not None}


def make_pii(options: PiiOptions) -> Apply:
    """Replace what is found; documents with a kind to `drop` are dropped as `pii_<kind>`."""
    given = options.model_dump(exclude=set(FINDERS))
    formatter = importlib.import_module("datatrove.pipeline.formatters").PIIFormatter(**given)
    emails, ips, others = formatter.emails_replacer, formatter.ip_replacer, options.others

    def apply(document: Document) -> str | Drop:
        text = document.text
        found: dict[str, int] = {}
        for kind, handling in others.items():
            spans = _apart(FINDERS[kind](text))
            if spans and handling == "drop":
                return Drop(f"pii_{kind}")
            text = _replaced(text, spans, f"<{kind.upper()}>")
            found[kind] = len(spans)
        if options.remove_emails and "@" in text:
            spans = list(find_emails(text, emails.regex))
            text = _in_turn(text, spans, options.email_replacement)
            found["email"] = len(spans)
        if options.remove_ips and _IP_LIKE.search(text):
            found["ip"] = sum(not ips.validator or ips.validator(each[0]) for each in ips.regex.finditer(text))
            ips._replace_i = 0
            text = ips.replace(text)
        if others:  # without them, the account stays what it was before they could be found
            document.replaced = {kind: number for kind, number in found.items() if number}
        return text

    return apply


def _apart(spans: Iterator[Span]) -> list[Span]:
    """The spans in order, without those that begin inside an earlier one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if not found or start >= found[-1][1]:
            found.append((start, end))
    return found


def _replaced(text: str, spans: Sequence[Span], replacement: str) -> str:
    return _in_turn(text, spans, (replacement,))


def _in_turn(text: str, spans: Sequence[Span], replacements: Sequence[str]) -> str:
    """The text with the spans replaced, the replacements used in turn."""
    parts: list[str] = []
    done = 0
    for number, (start, end) in enumerate(spans):
        parts += (text[done:start], replacements[number % len(replacements)])
        done = end
    return "".join((*parts, text[done:])) if parts else text


def replace_emails(text: str, address: re.Pattern[str], replacements: Sequence[str]) -> str:
    """Replace all matches of datatrove's expression for an email address, in time linear in the text's length."""
    return _in_turn(text, list(find_emails(text, address)), replacements)


def find_emails(text: str, address: re.Pattern[str]) -> Iterator[Span]:
    """Where datatrove's expression for an email address matches.

    A match holds one `@`, before it parts of `_LOCAL` with single dots between them, and after it a domain. Where these
    are there, the expression matches from the first word boundary on, so it never looks for a match in vain.
    """
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = _domain_of(address.pattern).match(text, at + 1)
        start = _local_start(text, done, at) if domain is not None else at
        found = address.search(text, start, domain.end()) if domain is not None and start < at else None
        if found is not None:
            yield found.span()
            done = found.end()
        at = text.find("@", max(at + 1, done))


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
