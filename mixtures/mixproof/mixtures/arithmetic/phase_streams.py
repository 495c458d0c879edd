"""Streams of a run whose phases have their own sequence length, or read only long documents.

A source has one stream for each sequence length at which a run reads it, and one for each `min_tokens` at that length.
Phases with the same stream continue it. The stream of `train.sequence_length` over all documents has the source's name.
"""

from __future__ import annotations


def stream_name(source: str, sequence_length: int | None, min_tokens: int | None) -> str:
    """Name the stream of a source: `books`, `books@8192` or `books@8192>=4096`; names of sources have no `@` or `>`.

    Args:
        source: name of the source.
        sequence_length: of the phase; None: that of the run.
        min_tokens: fewest tokens of a document; None: no bound.
    """
    at = "" if sequence_length is None else f"@{sequence_length}"
    return f"{source}{at}" if min_tokens is None else f"{source}{at}>={min_tokens}"


def source_of_stream(name: str) -> str:
    """Return the source of a stream."""
    return name.partition(">")[0].partition("@")[0]
