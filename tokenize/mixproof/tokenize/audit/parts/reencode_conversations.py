"""Re-encode the held-out conversations of a part: their ids and their masks, from the stored texts and spans."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.tokenize.audit.ids.conversation_ids import ConversationIds, Rendered, ends_supervised, rendered_of
from mixproof.tokenize.audit.report import Checks, Reencoded

from .reencode import HASH, hash_of


@lru_cache(maxsize=1)
def load_conversation_ids(path: Path, record: TokenizerRecord) -> ConversationIds:
    """The reference for conversations, loaded once in a process; its checksum has been verified."""
    return ConversationIds(path, record)


def conversations_by_hash(texts: pa.Table) -> dict[str, Rendered]:
    """The conversations of a held-out set by the hashes of their texts."""
    rows = zip(texts["text"].to_pylist(), texts["marks"].to_pylist(), strict=True)
    return {hash_of(each.text): each for text, marks in rows for each in rendered_of(text, marks)}


def reencode_conversations(
    reference: ConversationIds,
    conversations: Mapping[str, Rendered],
    dataset: Any,  # noqa: ANN401  (Megatron ships no types)
    provenance: Path,
    checks: Checks,
) -> Reencoded:
    """Encode every conversation of a held-out part again and compare ids and mask.

    Args:
        reference: the reference tokenizer.
        conversations: by the hash of their text; a document without one here is skipped.
        dataset: the part, opened with Megatron; its index, provenance and mask have passed their checks.
        provenance: the part's provenance, beside its mask.
        checks: receives one check for the part.
    """
    hashes = pq.read_table(provenance, columns=[HASH], partitioning=None)[HASH].to_pylist()
    mask = np.memmap(provenance.with_suffix(".mask"), np.uint8, mode="r")
    ends = np.cumsum(dataset.index.sequence_lengths, dtype=np.int64)
    compared, failed = 0, []
    for document, digest in enumerate(hashes):
        conversation = conversations.get(digest)
        tokens = None if conversation is None else reference.encode(conversation)
        if conversation is None or tokens is None:
            continue
        compared += 1
        end, length = int(ends[document]), int(dataset.index.sequence_lengths[document])
        stored = dataset.bin_reader.read(dataset.index.dtype, length - 1, (end - length) * dataset.index.dtype_size)
        expected = [*([0] * reference.before), *tokens.mask, int(ends_supervised(conversation))]
        if stored.tolist()[reference.before :] != tokens.ids or mask[end - length : end].tolist() != expected:
            failed.append(document)
    checks.true(
        "E5",
        not failed,
        "the ids and the mask of the reference tokenizer",
        f"others in {len(failed)} of {compared} conversations, the first in document {min(failed, default=0)}",
    )
    return Reencoded(heldout=compared)
