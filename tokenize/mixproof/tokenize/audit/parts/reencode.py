"""Re-encode held-out texts and a sample of the training documents with the reference tokenizer.

The ids of every held-out document are compared with the reference's ids of its text, which the store has. It has no
training texts under the manifest, so the text of a training document is decoded from its ids; it is encoded again if it
is the text that was encoded, which `text_xxh128` in the provenance decides. A tokenizer whose normalizer edits texts
restores only some of them; the others are counted and not compared. Byte-level BPE restores every text, so there
another text is a failure. Adopted `.bin/.idx` have no texts.

The sample of a part is the documents with the smallest `text_xxh128`, one in `ONE_IN` and at least `LEAST`. Runs draw
documents in the same order, so these are the documents that proxies train on first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.tokenize.audit.ids.reference_ids import ReferenceIds, reference_ids
from mixproof.tokenize.audit.report import Checks, Reencoded

ONE_IN = 4000
"""Encoding again is a thousand times slower than the other checks of a byte: this adds a tenth to an audit."""
LEAST = 50
BATCH_TOKENS = 1 << 18
"""Tokens that are held as Python integers at once; a longer document is a batch of its own."""
BATCH_ROWS = 1 << 17
HASH = "text_xxh128"
Failed = tuple[int, str]
"""A document and how its ids differ."""


def texts_by_hash(texts: pa.Table) -> dict[str, str]:
    """The texts of a held-out set by their hashes, without those that have another hash than the recorded one."""
    recorded = zip(texts[HASH].to_pylist(), texts["text"].to_pylist(), strict=True)
    return {digest: text for digest, text in recorded if hash_of(text) == digest}


def reencode_heldout(
    reference: ReferenceIds,
    texts: Mapping[str, str],
    dataset: Any,  # noqa: ANN401  (Megatron ships no types)
    provenance: Path,
    checks: Checks,
    before: int = 0,
) -> Reencoded:
    """Encode the text of every document of a held-out part again.

    Args:
        reference: the reference tokenizer.
        texts: texts by hash; a document without one here is skipped.
        dataset: the part, opened with Megatron; its index and provenance have passed their checks.
        provenance: the part's provenance.
        checks: receives one check for the part, at its `.bin`.
        before: tokens before each text: 1 with a BOS.
    """
    hashes = pq.read_table(provenance, columns=[HASH], partitioning=None)[HASH].to_pylist()
    documents = [document for document, digest in enumerate(hashes) if digest in texts]
    failed: list[Failed] = []
    for batch in _batches(dataset, documents, before):
        failed += _compare(batch, [texts[hashes[document]] for document in batch], reference)
    _check(failed, len(documents), provenance, checks)
    return Reencoded(heldout=len(documents))


def reencode_sample(
    reference: ReferenceIds,
    dataset: Any,  # noqa: ANN401  (Megatron ships no types)
    provenance: Path,
    checks: Checks,
    before: int = 0,
    control: frozenset[int] = frozenset(),
) -> Reencoded:
    """Encode the sample of a training part again, as far as its texts can be restored; see `reencode_heldout`.

    Of conversations, those in which the template wrote control tokens (`control`: their ids) are not compared, because
    a text alone does not say where those are.
    """
    hashes = sample_of(provenance)
    failed: list[Failed] = []
    compared = with_control_tokens = 0
    for batch in _batches(dataset, list(hashes), before):
        decoded = zip(batch, reference.decode(list(batch.values())), strict=True)
        restored = {document: text for document, text in decoded if hash_of(text) == hashes[document]}
        texts = {document: text for document, text in restored.items() if control.isdisjoint(batch[document])}
        compared += len(texts)
        with_control_tokens += sum(not control.isdisjoint(ids) for ids in batch.values())
        failed += _compare({document: batch[document] for document in texts}, list(texts.values()), reference)
        if reference.restores_every_text:
            lost = batch.keys() - restored
            failed += [(document, f"{len(batch[document])} ids of another text") for document in lost]
    _check(sorted(failed), compared, provenance, checks)
    not_restored = len(hashes) - compared - with_control_tokens
    return Reencoded(train=compared, not_restored=not_restored, with_control_tokens=with_control_tokens)


def sample_of(provenance: Path) -> dict[int, str]:
    """The sample of a part: text hashes by document, in the order of the part.

    Hashes of one length are ordered as text like the numbers that they spell; equal ones are taken in order.
    """
    order = [(HASH, "ascending"), ("document", "ascending")]
    with pq.ParquetFile(provenance) as file:
        size = max(LEAST, -(-file.metadata.num_rows // ONE_IN))
        chosen = pa.table({"document": pa.array([], pa.int64()), HASH: pa.array([], pa.string())})
        for rows in file.iter_batches(BATCH_ROWS, columns=list(chosen.column_names)):
            together = pa.concat_tables([chosen, pa.Table.from_batches([rows]).cast(chosen.schema)])
            chosen = together.take(pc.select_k_unstable(together, min(size, together.num_rows), order))
    chosen = chosen.sort_by("document")
    return dict(zip(chosen["document"].to_pylist(), chosen[HASH].to_pylist(), strict=True))


@lru_cache(maxsize=1)
def load_reference(path: Path, record: TokenizerRecord) -> ReferenceIds:
    """The reference tokenizer of a build, loaded once in a process; its checksum has been verified."""
    return reference_ids(path, record)


def hash_of(text: str) -> str:
    """The hash of a text as provenance states it."""
    return xxhash.xxh3_128_hexdigest(text.encode())


def _batches(
    dataset: Any,  # noqa: ANN401  (Megatron ships no types)
    documents: Sequence[int],
    before: int,
) -> Iterator[dict[int, list[int]]]:
    """The ids of these documents, without BOS and EOD, some documents at a time."""
    dtype = dataset.index.dtype
    pointers, lengths = dataset.index.sequence_pointers, dataset.index.sequence_lengths
    skipped = before * np.dtype(dtype).itemsize
    batch: dict[int, list[int]] = {}
    tokens = 0
    for document in documents:
        length = int(lengths[document]) - 1 - before
        if batch and tokens + length > BATCH_TOKENS:
            yield batch
            batch, tokens = {}, 0
        batch[document] = dataset.bin_reader.read(dtype, length, int(pointers[document]) + skipped).tolist()
        tokens += length
    if batch:
        yield batch


def _compare(stored: Mapping[int, list[int]], texts: Sequence[str], reference: ReferenceIds) -> list[Failed]:
    """The documents whose stored ids are not the reference's ids of their texts."""
    encoded = zip(stored.items(), reference.encode(texts), strict=True)
    return [(document, _difference(ids, expected)) for (document, ids), expected in encoded if ids != expected]


def _difference(stored: Sequence[int], expected: Sequence[int]) -> str:
    shared = min(len(stored), len(expected))
    differ = np.nonzero(np.asarray(stored[:shared]) != np.asarray(expected[:shared]))[0]
    first = int(differ[0]) if len(differ) else shared
    return f"{len(stored)} ids instead of {len(expected)}, different from token {first} on"


def _check(failed: Sequence[Failed], compared: int, provenance: Path, checks: Checks) -> None:
    """Count one check; a failure names the first document whose ids differ."""
    if not failed:
        checks.true("E5", True, "the ids of the reference tokenizer", "")
        return
    document, difference = failed[0]
    row = pq.read_table(provenance, columns=["file", "record"], partitioning=None).slice(document, 1).to_pylist()[0]
    checks.true(
        "E5",
        False,
        f"the ids of the reference tokenizer in document {document} ({row['file']} record {row['record']})",
        f"{difference}; {len(failed)} of {max(compared, len(failed))} re-encoded documents of the part differ",
    )
