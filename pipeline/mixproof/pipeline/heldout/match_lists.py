"""All matches of the documents that decontamination dropped: what the report by file and question is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.pipeline.columns import table_of

from .edited_questions import WIDTH
from .overlap import Match, OverlapIndex
from .overlap_index import IndexedTexts
from .shared_words import DocumentWords

MATCHES = "matches.parquet"
MATCHES_SCHEMA = pa.schema(
    [
        pa.field("record", pa.int64()),
        pa.field("file", pa.string()),
        pa.field("id", pa.string()),
        pa.field("match", pa.string()),
        pa.field("match_record", pa.int64()),
        pa.field("match_field", pa.string()),
        pa.field("shared_ngrams", pa.int64()),
        pa.field("match_ngrams", pa.int64()),
        pa.field("ngrams", pa.int64()),
        pa.field("longest_run_words", pa.int64()),
        pa.field("longest_run", pa.string()),
        pa.field("excerpt", pa.string()),
        pa.field("by_words", pa.bool_()),
    ]
)
"""A dropped document and one text that it overlaps with. `record` counts from the start of the shard; `file` is null if
the shard is of one file; `match` is `heldout/<source>` or `evaluation/<file>`, and `match_field` null for a held-out
text. With `by_words`, numbers of n-grams are numbers of words (`edited_questions.py`). `longest_run` is the longest run
of shared words in the document, and `excerpt` the text around it."""


def shown_width(ngram: int, *, by_words: bool) -> int:
    """Fewest shared words in a row that are shown as shared."""
    return WIDTH if by_words else ngram


def match_rows(
    row: Mapping[str, Any], matches: Sequence[Match], index: OverlapIndex, texts: IndexedTexts
) -> list[tuple[Any, ...]]:
    """The rows of one document, in the order of the schema."""
    found, document = [], DocumentWords(row["text"])
    for match in matches:
        described = texts.describe(match.text)
        width = shown_width(index.ngram, by_words=match.by_words)
        excerpt = document.excerpt(np.asarray(index.words.of(match.text)), width)
        found.append(
            (
                row["record"],
                row.get("file"),
                row["id"],
                described["match"],
                described["match_record"],
                described["match_field"],
                match.shared,
                match.text_grams,
                match.document_grams,
                excerpt.run_words,
                excerpt.longest_run,
                excerpt.text,
                match.by_words,
            )
        )
    return found


def write_matches(rows: Sequence[tuple[Any, ...]], path: Any) -> None:  # noqa: ANN401 - a path of an attempt
    """Write the matches of a shard."""
    pq.write_table(table_of(list(rows), MATCHES_SCHEMA), path, compression="zstd")
