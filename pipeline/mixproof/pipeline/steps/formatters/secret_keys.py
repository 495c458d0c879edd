"""Find secrets in code and configuration: keys with the prefixes of their issuers, and blocks of private keys.

A key is found by its prefix and form alone, so a hit is hardly ever something else, and passwords without a form are
not found. Documented examples, which end in EXAMPLE or are one repeated character, do not count as secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]
_W = "[A-Za-z0-9_-]"
_KEYS: dict[str, tuple[tuple[str, ...], str]] = {
    "AWS": (("AKIA", "ASIA", "ABIA", "ACCA"), r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    "GitHub": (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    "GitHub fine-grained": (("github_pat_",), r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    "GitLab": (("glpat-",), rf"glpat-{_W}{{20,64}}"),
    "Slack": (("xoxa-", "xoxb-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"), r"xox[aboprs]-[0-9]{6,15}-[A-Za-z0-9-]{10,120}"),
    "Slack webhook": (
        ("hooks.slack.com/services/",),
        r"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,30}",
    ),
    "Google": (("AIza",), rf"AIza{_W}{{35}}"),
    "OpenAI": (("T3BlbkFJ",), rf"sk-(?:proj-|svcacct-|admin-)?{_W}{{20,100}}?T3BlbkFJ{_W}{{20,100}}"),
    "Anthropic": (("sk-ant-",), rf"sk-ant-[a-z]{{3,8}}[0-9]{{2}}-{_W}{{80,110}}"),
    "Stripe": (("sk_live_", "rk_live_", "sk_test_", "rk_test_"), r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}"),
    "Hugging Face": (("hf_",), r"hf_[A-Za-z0-9]{34}"),
    "npm": (("npm_",), r"npm_[A-Za-z0-9]{36}"),
    "PyPI": (("pypi-AgEIcHlwaS5vcmc",), rf"pypi-AgEIcHlwaS5vcmc{_W}{{50,250}}"),
    "SendGrid": (("SG.",), rf"SG\.{_W}{{22}}\.{_W}{{43}}"),
}
"""By issuer: texts of which one is in every key, and the form of a key, as the issuers' documentation states it."""
_FORMS = {name: re.compile(rf"(?<![A-Za-z0-9_-])(?:{form})(?![A-Za-z0-9_-])") for name, (_, form) in _KEYS.items()}
_BEGIN = re.compile(r"-----BEGIN ((?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?)-----")
_BEGINNING = "-----BEGIN "
"""Of every block."""
_LEAST_BODY = 40
"""Characters between the lines of a key block; a shorter one is a description of its form."""


def find_secrets(text: str) -> Iterator[Span]:
    """Where secrets are in a text."""
    for name, (needed, _) in _KEYS.items():
        if any(part in text for part in needed):
            yield from (found.span() for found in _FORMS[name].finditer(text) if _is_secret(found[0]))
    if _BEGINNING in text:
        yield from _private_keys(text)


def _is_secret(key: str) -> bool:
    return not key.upper().endswith("EXAMPLE") and len(set(key[-12:])) > 2


def _private_keys(text: str) -> Iterator[Span]:
    """Where blocks of private keys are, in time linear in the text: each line that ends a block is looked for once."""
    begins = list(_BEGIN.finditer(text))
    limits = [begin.start() for begin in begins[1:]] + [len(text)] if begins else []
    end_of: dict[str, int] = {}
    for begin, limit in zip(begins, limits, strict=True):
        line = f"-----END {begin[1]}-----"
        if -1 < end_of.get(line, 0) < begin.end():
            end_of[line] = text.find(line, begin.end())
        end = end_of[line]
        if 0 <= end < limit and end - begin.end() >= _LEAST_BODY:
            yield begin.start(), end + len(line)
