"""What a template shows of text from elsewhere."""

from __future__ import annotations

import html
from typing import Any

from mixproof.tokenize.page.build_evidence import Statement
from mixproof.tokenize.page.document import asset, template
from mixproof.tokenize.page.palette import NEUTRAL, OF_MIXTURES, OF_SOURCES


def test_a_page_shows_no_credentials_and_nothing_that_hides_or_reorders_text() -> None:
    spec = "files: 'https://ann:pw@host/a.jsonl?X-Amz-Signature=abc'  # <b>\n"
    parts: Any = template("parts.html.j2").module
    shown = html.unescape(parts.statement("spec-0", "gpj.\u202eexe", "we\u200bb", Statement("a.yaml", spec), []))
    assert "gpj.\ufffdexe" in shown and "we\ufffdb" in shown
    assert "files: 'https://***@host/a.jsonl?X-Amz-Signature=***'  # <b>\n" in shown
    assert Statement("a.yaml", spec).sha256 in shown, "the checksum is that of the file"


def test_the_style_sheet_knows_every_colour_of_a_mark() -> None:
    for color in (*OF_MIXTURES, *OF_SOURCES, NEUTRAL):
        assert f'[data-color="{color}"] {{ --mark: {color}; }}' in asset("page.css")
