"""The account of cutting one shard: like that of a formatter, with bytes removed and documents dropped."""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.ledger.account import Count, StageRow
from mixproof.pipeline.words.words import word_blocks

TOO_SHORT = "too_short"


def reason_to_drop(text: bytes, min_doc_words: int, nothing_left: str) -> str | None:
    """Return the reason why a text that was cut is dropped, else None; `nothing_left` if it has no words at all."""
    words = 0
    for block in word_blocks(text):
        words += len(block)
        if words >= max(min_doc_words, 1):
            return None
    return TOO_SHORT if words else nothing_left


class CutAccount:
    """The account of cutting one shard."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._documents_in = self._bytes_in = self._removed = self.listed = 0
        self._dropped: dict[str, Count] = {}
        self._lost: dict[str, Count] = {}

    def take(self, text: bytes) -> None:
        """Count a document before it is cut."""
        self._documents_in += 1
        self._bytes_in += len(text)

    def lose(self, reason: str | None, by_keeper: Mapping[str, int]) -> None:
        """Count lost bytes by the source that keeps them; those of the whole text if it is dropped for `reason`."""
        self.listed += 1
        if reason is None:
            self._removed += sum(by_keeper.values())
        else:
            _add(self._dropped, reason, Count(documents=1, bytes=sum(by_keeper.values())))
        for keeper, size in by_keeper.items():
            _add(self._lost, keeper, Count(documents=int(reason is not None), bytes=size))

    def lost(self) -> list[list[object]]:
        """Return rows [keeper's source, documents, bytes], sorted."""
        return [[name, count.documents, count.bytes] for name, count in sorted(self._lost.items())]

    def row(self) -> StageRow:
        """Return the ledger row of the shard."""
        dropped = sum(self._dropped.values(), Count(documents=0, bytes=0))
        return StageRow(
            stage=self._stage,
            documents_in=self._documents_in,
            documents_out=self._documents_in - dropped.documents,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_in - dropped.bytes - self._removed,
            bytes_removed=self._removed,
            dropped=dict(sorted(self._dropped.items())),
        )


def _add(counts: dict[str, Count], name: str, count: Count) -> None:
    counts[name] = counts.get(name, Count(documents=0, bytes=0)) + count
