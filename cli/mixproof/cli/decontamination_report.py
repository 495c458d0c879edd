"""What decontamination dropped, by file and question, with both texts side by side."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES, Manifest
from mixproof.ledger.shown_text import one_line
from mixproof.mixtures.blocks.heldout import Decontaminate
from mixproof.pipeline.heldout.decontaminate import DECONTAMINATE
from mixproof.pipeline.heldout.evaluation import find_evaluation_files
from mixproof.pipeline.heldout.match_lists import shown_width
from mixproof.pipeline.heldout.match_report import HELDOUT, MatchedDocument, MatchedFile, MatchedText, read_matches
from mixproof.pipeline.heldout.shared_words import marked

from .output import count, percent, stdout, table
from .request import Request

COLUMN = 37
"""Characters of each side: two sides and a gap fit into 80."""
LINES = 14
"""Lines of a side that are shown."""
OPEN, CLOSE = "«", "»"
"""Around shared words."""


def read_report(request: Request) -> tuple[list[MatchedFile], dict[str, Any] | None]:
    """Read the report of a spec's build; also return what was ignored because it is frequent.

    Raises:
        RequestError: when there is no build, or the spec turns decontamination off.
    """
    spec = request.loaded.as_written
    if spec.decontaminate is False:
        raise RequestError(f"{spec.where('decontaminate')}: is off, so nothing was compared")
    manifest = request.manifest()
    circumstances = json.loads(request.store.path(f"{BUILDS}/{manifest.build}/{CIRCUMSTANCES}").read_bytes())
    against = find_evaluation_files(spec, request.loaded.base)
    files = read_matches(request.store, manifest, circumstances["lists"], against, spec.decontaminate.ngram)
    return files, circumstances.get("frequent_ngrams")


def dropped_by_reason(manifest: Manifest) -> dict[str, int]:
    """Documents that the ledger counts as dropped by decontamination, by reason, over all sources."""
    found: dict[str, int] = {}
    for source in manifest.sources.values():
        for row in source.ledger:
            for reason, lost in row.dropped.items() if row.stage == DECONTAMINATE else ():
                found[reason] = found.get(reason, 0) + lost.documents
    return dict(sorted(found.items()))


def report_json(
    files: Sequence[MatchedFile], frequent: Mapping[str, Any] | None, dropped: Mapping[str, int]
) -> dict[str, object]:
    """The JSON form of a report; `dropped` are the ledger's counts by reason."""
    return {
        "ledger": dict(dropped),
        "frequent_ngrams": frequent,
        "files": [
            {
                "file": each.name,
                "texts": each.texts,
                "texts_matched": len(each.matched),
                "documents": each.documents,
                "matched": [asdict(text) for text in each.matched.values()],
            }
            for each in files
        ],
    }


def print_report(
    files: Sequence[MatchedFile],
    frequent: Mapping[str, Any] | None,
    dropped: Mapping[str, int],
    rules: Decontaminate,
    most: int,
) -> None:
    """Print a report: a table of files, counts of the ledger, the first `most` matches of each file side by side."""
    rows = []
    for each in files:
        matched = len(each.matched)
        share = percent(matched / max(1, each.texts))
        rows.append((each.name, count(each.texts), count(matched), share, count(each.documents)))
    columns = ("file or held-out set", "texts", "matched", "share", "documents dropped")
    stdout.print(table("Decontamination", columns, rows))
    reasons = ", ".join(f"{escape(reason)} {count(documents)}" for reason, documents in dropped.items()) or "none"
    stdout.print(f"dropped by the ledger: {reasons}")
    if sum(dropped.values()) < sum(each.documents for each in files):
        stdout.print(
            "A document that overlaps with texts of several files is in the row of each. The ledger counts it once, as "
            "heldout_overlap if a held-out text is among them."
        )
    if frequent is not None:
        stdout.print(
            f"ignored: {count(frequent['ignored_ngrams'])} n-grams in more than {count(frequent['ignore_frequent'])} "
            f"training documents; {count(frequent['unprotected_texts'])} texts have no others"
        )
    short = rules.ngram if rules.questions is False else min(rules.ngram, rules.questions.ngram)
    for each in files:
        ngram = rules.ngram if each.name.startswith(HELDOUT) else short
        for text in list(each.matched.values())[:most]:
            for document in text.documents[:1]:
                _print_pair(each, text, document, ngram)


def _print_pair(file: MatchedFile, text: MatchedText, document: MatchedDocument, ngram: int) -> None:
    place = f"{file.name} record {text.record}" + ("" if text.field is None else f", {text.field}")
    others = len(text.documents) - 1
    more = f", and {count(others)} other{'s' if others > 1 else ''}" if others else ""
    at = f"{document.source} {document.file} record {document.record}{more}"
    stdout.print(f"\n[bold]{escape(one_line(place))}[/]\n{escape(one_line(at))}", soft_wrap=True)
    of_text = percent(document.shared_ngrams / max(1, document.text_ngrams))
    of_document = percent(document.shared_ngrams / max(1, document.document_ngrams))
    unit = "words in order" if document.by_words else "n-gram" if document.shared_ngrams == 1 else "n-grams"
    stdout.print(
        f"{count(document.shared_ngrams)} shared {unit}, {of_text} of the text's and {of_document} of the document's; "
        f"longest run: {count(document.longest_run_words)} words"
    )
    stdout.print(side_by_side(text.text, document.excerpt, shown_width(ngram, by_words=document.by_words)))


def side_by_side(text: str, excerpt: str, width: int) -> Table:
    """Two texts beside each other, with runs of at least `width` shared words in guillemets."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=COLUMN)
    grid.add_column(width=COLUMN)
    grid.add_row("[dim]protected text[/]", "[dim]training document[/]")
    for left, right in _lines(marked(text, excerpt, width), marked(excerpt, text, width)):
        grid.add_row(left, right)
    return grid


def _lines(*sides: Sequence[tuple[str, bool]]) -> list[tuple[str, ...]]:
    """Both sides as lines of COLUMN characters, with markup."""
    wrapped = [_wrapped(pieces) for pieces in sides]
    longest = min(LINES, max(map(len, wrapped)))
    return [tuple(lines[number] if number < len(lines) else "" for lines in wrapped) for number in range(longest)]


def _wrapped(pieces: Sequence[tuple[str, bool]]) -> list[str]:
    plain = "".join(f"{OPEN}{piece}{CLOSE}" if is_shared else piece for piece, is_shared in pieces)
    return [escape(line) for line in textwrap.wrap(" ".join(plain.split()), COLUMN)]
