"""What may be shown or written of text that came from elsewhere: no credentials, and nothing that steers a terminal.

File names, ids, texts and error messages of libraries can hold control sequences, marks that reverse the direction of
writing, and URLs with passwords or signatures. Everything that goes to a terminal, a log or a record of circumstances
passes through here. Manifests hold no URLs.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

PLACEHOLDER = "\ufffd"
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Marks that change the direction of what follows (Unicode Standard Annex 9)."""
_BREAKS = (0x2028, 0x2029)
_INVISIBLE = dict.fromkeys((*_CONTROLS, *_DIRECTIONS, *_BREAKS), PLACEHOLDER)
_VISIBLE_LINES = {code: mark for code, mark in _INVISIBLE.items() if chr(code) not in "\n\t"}
HIDDEN = "***"
_USER_INFO = re.compile(r"(?<=://)[^/\s@'\"]+:[^/\s'\"]*(?=@)|(?:(?<=http://)|(?<=https://))[^/\s'\"]+(?=@)")
"""User and password, which may have an `@` itself; over HTTP a token alone. Azure's `abfs://container@` is not one."""
_USER_INFO_AT = re.compile(f"(?:{_USER_INFO.pattern})@")
_SPLIT_SECRET = re.compile(r"(?<=://)[^/\s@:'\"\[]+:(?!\d+/)[^/\s'\"]*/[^\s'\"]{0,200}(?=@)")
"""A key of S3 may have a `/`, which ends the host of a URL; such a URL names nothing, but messages would show it."""
_PARAMETER = re.compile(
    r"(?i)(?<=[?&])((?:[a-z_-]*(?:signature|credential|token|secret|password)|sig|apikey|api[-_]key|access_?key(?:id)?|"
    r"awsaccesskeyid|googleaccessid)=)[^&#\s'\"]+"
)
"""Parameters of signed URLs: S3, Google Cloud Storage, Azure (`sig`), CloudFront, and tokens by their usual names."""
_ACCOUNT_KEY = re.compile(r"(?i)(?<=accountkey=)[^;\s'\"]+|(?<=sharedaccesssignature=)[^;\s'\"]+")
"""In connection strings of Azure."""
_SECRET_NAME = re.compile(r"(?i)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|_PASS|_PAT|CREDENTIALS?|CONNECTION_STRING)$")
LEAST_SECRET_CHARS = 12
"""Shorter values of such variables are words or numbers that text may contain by chance."""


def visible(text: str) -> str:
    """The text with U+FFFD for every character that could steer a terminal or reorder a line; line breaks stay."""
    return text if text.isascii() and text.isprintable() else text.translate(_VISIBLE_LINES)


def one_line(text: str) -> str:
    r"""As `visible`, with line breaks spelled `\n`, so that text cannot begin a line of its own."""
    return visible(text).replace("\n", "\\n")


def unsigned(url: str) -> str:
    """The URL without user name and password, and without its query if that signs it: what may name a file."""
    url = _USER_INFO_AT.sub("", url)
    return url.partition("?")[0] if _PARAMETER.search(url) else url


def redacted(text: str) -> str:
    """The text without user names and passwords of URLs, parameters that sign them, and secrets of the environment."""
    if "://" in text:
        text = _PARAMETER.sub(rf"\1{HIDDEN}", _SPLIT_SECRET.sub(HIDDEN, _USER_INFO.sub(HIDDEN, text)))
    text = _ACCOUNT_KEY.sub(HIDDEN, text)
    for name, value in os.environ.items():
        if len(value) >= LEAST_SECRET_CHARS and _SECRET_NAME.search(name):
            for spelled in {value, quote(value, safe="")}:  # a URL spells a `/` of a key as %2F
                text = text.replace(spelled, HIDDEN)
    return text
