"""HTML to text: detect the charset, then extract the main text with trafilatura or resiliparse.

The charset is the first of: a byte order mark; UTF-8, if the bytes are valid UTF-8 and not all ASCII (text in other
charsets is hardly ever valid UTF-8, and servers often declare the wrong one); the one in the HTTP header; the one in
the page's `meta`; what charset-normalizer detects. Names mean what they mean to browsers (`iso-8859-1` is
windows-1252). If a few bytes are invalid in the charset, they are read as U+FFFD.

trafilatura runs as in datatrove (precision over recall, no comments), but without its `deduplicate`, which drops
paragraphs that appeared on earlier pages and so makes a page's text depend on the order of pages. resiliparse runs as
in DCLM: the main content with its line breaks, without links, alternative texts and forms.
"""

from __future__ import annotations

import codecs
import importlib
import re

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Extractor

VERSION = 2
"""Raised when the text extracted from some page changes."""
DEFAULT: Extractor = "trafilatura"
EXTRAS = {"trafilatura": "documents", "resiliparse": "html"}
"""The extra that installs each extractor."""
REPLACED_SHARE = 1 / 1000
"""Largest share of a page's characters that may be invalid in its charset."""

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9_.:-]+)")
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_META_BYTES = 4096
"""Browsers search 1,024 bytes; licence comments push the tag further down."""
_BROWSERS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
}
_NO_TEXT = frozenset({"utf-7", "punycode", "idna", "mbcs", "oem", "undefined", "unicode-escape", "raw-unicode-escape"})
"""Python codecs that browsers do not know."""
_SEVEN_BIT = ("iso2022", "hz")
_NO_XML = re.compile(
    r"[\x01-\x08\x0e-\x1a\ufffe\uffff]|\x1b(?![$(])"  # escape sequences of ISO-2022 in a page decoded as ASCII
    r"|&#0*(?:[1-8]|1[4-9]|2[0-7]|6553[45])(?:;|(?![0-9]))"
    r"|&#[xX]0*(?:[1-8]|[eEfF]|1[0-9a-bA-B]|[fF]{3}[eEfF])(?:;|(?![0-9a-fA-F]))"
)
"""Control characters, also as references: XML forbids them, and trafilatura rejects a page that has one."""


def decode_html(data: bytes, content_type: str) -> tuple[str, str] | None:
    """Return (the page as text, its charset), or None if no charset fits."""
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(charset, errors="replace"), charset
    declared = _declared(data, content_type)
    in_ascii = (*_SEVEN_BIT, "utf-16") if b"\0" in data else _SEVEN_BIT
    if data.isascii() and not any(charset.startswith(in_ascii) for charset in declared):
        return data.decode("ascii"), "ascii"
    if data.isascii():
        declared.sort(key=lambda charset: not charset.startswith(in_ascii))  # the other charsets fit any ASCII
    for charset in (*(() if data.isascii() else ("utf-8",)), *declared):
        text = _decoded(data, charset)
        if text is not None:
            return text, charset
    for charset in declared:
        text = data.decode(charset, errors="replace")
        if text.count("\ufffd") <= REPLACED_SHARE * len(text):
            return text, charset
    found = importlib.import_module("charset_normalizer").from_bytes(data).best()
    return None if found is None else (str(found), str(found.encoding))


def packages_of(extractor: Extractor) -> tuple[str, str]:
    """Packages whose versions may change a page's text."""
    return "charset-normalizer", extractor


def check_extractor(extractor: Extractor, where: str) -> None:
    """Refuse to extract without the package.

    Raises:
        RequestError: naming the file and what to install.
    """
    try:
        importlib.import_module(extractor)
    except ImportError as error:
        raise RequestError(
            f"{where}: extracting text from HTML needs {extractor}: "
            f"pip install 'mixproof[{EXTRAS[extractor]}]' ({error})"
        ) from error


def main_text(page: str, extractor: Extractor = DEFAULT) -> str | None:
    """Extract the main text of a page; None if there is none.

    Raises:
        ImportError: when the extractor is not installed.
    """
    if extractor == "resiliparse":
        plain = importlib.import_module("resiliparse.extract.html2text").extract_plain_text
        found: str = plain(page, main_content=True, preserve_formatting=True, alt_texts=False)
        return found.strip() or None
    extract = importlib.import_module("trafilatura").extract
    text: str | None = extract(_NO_XML.sub("", page), favor_precision=True, include_comments=False, deduplicate=False)
    return text


def _declared(data: bytes, content_type: str) -> list[str]:
    names = [found[1] for found in [_HEADER.search(content_type)] if found]
    head = data[:_META_BYTES]
    named = [found[1].decode() for found in (_XML.search(head), _META.search(head)) if found]
    names += [
        name for name in named if not name.lower().startswith("utf-16")
    ]  # a page whose `meta` can be read as ASCII is not UTF-16
    known = []
    for name in names:
        try:
            found = codecs.lookup(name)
        except LookupError:
            continue
        if not found._is_text_encoding:  # base64, rot13 and others
            continue
        charset = _BROWSERS.get(found.name, found.name)
        if charset not in known and charset not in _NO_TEXT:
            known.append(charset)
    return known


def _decoded(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        return None
