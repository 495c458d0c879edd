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
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x2070))
"""Marks that change the direction of what follows (Unicode Standard Annex 9)."""
_ZERO_WIDTH = (0xAD, 0x180E, 0x200B, *range(0x2060, 0x2066), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080))
"""Characters without width, which make two names look alike. Joiners (U+200C, U+200D) stay: words and emoji need
them."""
_BREAKS = (0x2028, 0x2029)
_SURROGATES = range(0xD800, 0xE000)
"""No encoding can write them; Python reads file names that are not UTF-8 as such."""
_STEERING = (*_CONTROLS, *_DIRECTIONS, *_ZERO_WIDTH, *_BREAKS, *_SURROGATES)
STEERING = re.compile("[" + "".join(chr(code) for code in _STEERING if chr(code) not in "\n\t") + "]")
"""Any character that may steer a terminal, reorder or hide text; line breaks and tabs are none."""
HIDDEN = "***"
_AFTER_SCHEME = re.compile(r"(?<=://)(?:(?!://)[^\s\"])+")
_MOST_CHARS_AFTER_HOST = 200
_AS_PATH = re.compile(r"(?i)\b((?:https?|s3a?|gs|gcs|abfss?|az):/)(?!/)[^\s/@]{1,200}@")
"""User name and password of a URL that was taken for a path, so that one of its slashes is gone."""
_PARAMETER = re.compile(
    r"(?i)(?<=[?&])((?:[a-z_-]*(?:signature|credential|token|secret|password)|sig|apikey|api[-_]key|access_?key(?:id)?|"
    r"awsaccesskeyid|googleaccessid|auth|authorization|jwt|pwd|passwd)=)[^&#\s'\"]+"
)
"""Parameters of signed URLs: S3, Google Cloud Storage, Azure (`sig`), CloudFront, and tokens by their usual names."""
_ACCOUNT_KEY = re.compile(r"(?i)(?<=accountkey=)[^;\s'\"]+|(?<=sharedaccesssignature=)[^;\s'\"]+")
"""In connection strings of Azure."""
_HEADER = re.compile(r"(?i)(?<=authorization)(['\"]?\s?[:=]\s?['\"]?(?:(?:basic|bearer|token)\s)?)[^\s'\",;)>\]}]+")
"""Credentials in a header of HTTP, as errors of clients show their requests."""
_SECRET_NAME = re.compile(
    r"(?i)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|_PASS|_PWD|_PAT|_SAS|_AUTH|_JWT|CREDENTIALS?|CONNECTION_STRING)"
    r"(?:_?\d+)?$"
)
LEAST_SECRET_CHARS = 12
"""Shorter values of such variables are words or numbers that text may contain by chance."""


def visible(text: str) -> str:
    """The text with U+FFFD for every character that could steer a terminal or reorder a line; line breaks stay."""
    return text if text.isascii() and text.isprintable() else STEERING.sub(PLACEHOLDER, text)


def one_line(text: str) -> str:
    r"""As `visible`, with line breaks spelled `\n`, so that text cannot begin a line of its own."""
    return visible(text).replace("\n", "\\n")


def unsigned(url: str) -> str:
    """The URL without user name and password, and without its query if that signs it: what may name a file."""
    url = _AFTER_SCHEME.sub(lambda found: found[0][len(_user_at(found)) :], url)
    return url.partition("?")[0] if _PARAMETER.search(url) else url


def redacted(text: str) -> str:
    """The text without user names and passwords of URLs, parameters that sign them, and secrets of the environment."""
    if len(text) < LEAST_SECRET_CHARS:
        return text
    if ":/" in text:
        text = _AS_PATH.sub(rf"\1{HIDDEN}@", text)
    if "://" in text:
        text = _PARAMETER.sub(rf"\1{HIDDEN}", _AFTER_SCHEME.sub(_without_user, text))
    text = _HEADER.sub(rf"\1{HIDDEN}", _ACCOUNT_KEY.sub(HIDDEN, text))
    for name, value in os.environ.items():
        if len(value) >= LEAST_SECRET_CHARS and _SECRET_NAME.search(name):
            for spelled in {value, quote(value, safe="")}:  # a URL spells a `/` of a key as %2F
                text = text.replace(spelled, HIDDEN)
    return text


def _user_at(found: re.Match[str]) -> str:
    """`user:password@` at the start of a URL without its scheme; over HTTP, also `token@`; else empty.

    A password may have an `@` itself. Azure's `abfs://container@` has no password.
    """
    user, at, _ = found[0].partition("/")[0].rpartition("@")
    name, colon, _ = user.partition(":")
    has_password = name and colon and "@" not in name
    over_http = user and found.string.endswith(("http://", "https://"), 0, found.start())
    return user + at if has_password or over_http else ""


def _without_user(found: re.Match[str]) -> str:
    """A URL without its scheme and with `***` for its user.

    A key of S3 may have a `/`, which ends the host of a URL. Such a URL names nothing, but messages would show it.
    """
    url = found[0]
    host, _, path = url.partition("/")
    user = _user_at(found)
    name, colon, port = host.partition(":")
    if not user and name and "[" not in name and colon and "@" not in host and not port.isdigit():
        key, at, _ = path[: _MOST_CHARS_AFTER_HOST + 1].partition("'")[0].rpartition("@")
        user = f"{host}/{key}{at}" if at else ""
    return f"{HIDDEN}@{url[len(user) :]}" if user else url
