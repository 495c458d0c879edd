"""`ftfy`: repairs wrongly decoded text, with datatrove's defaults for ftfy.

The result is always that of ftfy. It leaves plain ASCII without control characters and `&` unchanged, so it is not
called for such texts.
"""

from __future__ import annotations

import importlib
import re
from typing import Literal

from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Options

VERSION = 1
_MAY_CHANGE = re.compile(r"[^\t\n -%'-~]")


class FtfyOptions(Options):
    """The options of datatrove's FTFYFormatter."""

    unescape_html: Literal["auto"] | bool = "auto"
    remove_terminal_escapes: bool = True
    fix_encoding: bool = True
    restore_byte_a0: bool = True
    replace_lossy_sequences: bool = True
    decode_inconsistent_utf8: bool = True
    fix_c1_controls: bool = True
    fix_latin_ligatures: bool = False
    fix_character_width: bool = False
    uncurl_quotes: bool = False
    fix_line_breaks: bool = False
    fix_surrogates: bool = True
    remove_control_chars: bool = True
    normalization: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = None


def make_ftfy(options: FtfyOptions) -> Apply:
    """Repair texts; no document is dropped."""
    formatter = importlib.import_module("datatrove.pipeline.formatters").FTFYFormatter(**options.model_dump())

    def apply(document: Document) -> str:
        if document.text.isascii() and _MAY_CHANGE.search(document.text) is None:
            return document.text
        return str(formatter.format(document.text))

    return apply
