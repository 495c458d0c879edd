"""The audit at depth bytes encodes held-out texts and a sample of the training documents again, and says how many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from mixproof.tokenize.audit import audit_build
from mixproof.tokenize.audit.parts.reencode import sample_of
from mixproof.tokenize.audit.report import AuditReport, Reencoded

EOD = 2


def documents_of(path: Path) -> list[list[int]]:
    """The ids of each document of a `.bin`, EODs included."""
    tokens = np.fromfile(path, np.uint16)
    ends = np.flatnonzero(tokens == EOD) + 1
    return [row.tolist() for row in np.split(tokens, ends[:-1])]


def swap_ids(path: Path, document: int) -> str:
    """Swap the first two different neighbours among the ids of a document: every count and length still holds."""
    documents = documents_of(path)
    ids = documents[document][:-1]
    at = next(index for index in range(len(ids) - 1) if ids[index] != ids[index + 1])
    ids[at], ids[at + 1] = ids[at + 1], ids[at]
    documents[document][:-1] = ids
    np.array([token for row in documents for token in row], np.uint16).tofile(path)
    return f"{len(ids)} ids instead of {len(ids)}, different from token {at} on"


def spell_as_byte(path: Path, prefix: str, processor: Any) -> tuple[int, int]:  # noqa: ANN401  (SentencePiece ships no types)
    """Replace a letter of the first sampled document by its byte, so that text and length of the document stay.

    Returns the document and the token.
    """
    documents = documents_of(path)
    document = min(sample_of(Path(f"{prefix}.parquet")))
    pieces = [processor.id_to_piece(token) for token in documents[document]]
    at = next(index for index, piece in enumerate(pieces) if len(piece) == 1 and piece.isascii())
    documents[document][at] = processor.piece_to_id(f"<0x{ord(pieces[at]):02X}>")
    np.array([token for row in documents for token in row], np.uint16).tofile(path)
    return document, at


def found(report: AuditReport) -> list[tuple[str, str, str, str, str]]:
    """Where each failure is."""
    return [(f.equation, f.source, f.stage, f.shard, f.file) for f in report.failures]


def test_a_wrong_id_in_a_held_out_document_fails_and_is_named(hand_build: Any) -> None:  # noqa: ANN401  (conftest.HandBuild)
    path = hand_build.root / "encode/12/web-heldout-00000.bin"
    difference = swap_ids(path, 2)
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert found(report) == [("E5", "web", "heldout", "encode/12/web-heldout-00000", str(path))]
    (failure,) = report.failures
    assert failure.expected == "the ids of the reference tokenizer in document 2 (a.jsonl record 3)"
    assert failure.found == f"{difference}; 1 of 4 re-encoded documents of the part differ"
    assert audit_build(hand_build.forge(hand_build.load()), "arithmetic").ok


def test_a_training_document_with_other_ids_of_the_same_text_fails_and_is_named(
    hand_build: Any,  # noqa: ANN401  (conftest.HandBuild)
    processor: Any,  # noqa: ANN401  (SentencePiece ships no types)
) -> None:
    prefix = "encode/11/code-train-00001"
    path = hand_build.root / f"{prefix}.bin"
    document, token = spell_as_byte(path, str(hand_build.root / prefix), processor)
    place = pq.read_table(hand_build.root / f"{prefix}.parquet").slice(document, 1).to_pylist()[0]
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert found(report) == [("E5", "code", "train", prefix, str(path))]
    where = f"document {document} ({place['file']} record {place['record']})"
    assert report.failures[0].expected == f"the ids of the reference tokenizer in {where}"
    assert f"different from token {token} on; 1 of 34 re-encoded documents" in report.failures[0].found


def test_a_training_document_whose_ids_are_of_another_text_counts_as_not_restored(hand_build: Any) -> None:  # noqa: ANN401  (conftest.HandBuild)
    prefix = "encode/12/web-train-00000"
    swap_ids(hand_build.root / f"{prefix}.bin", min(sample_of(hand_build.root / f"{prefix}.parquet")))
    report = audit_build(hand_build.forge(hand_build.load()), "bytes")
    assert report.ok
    assert report.reencoded == Reencoded(heldout=8, train=103, not_restored=1)
    assert str(report.reencoded) == (
        "re-encoded 8 held-out and 103 sampled training documents with the reference tokenizer; "
        "1 sampled text could not be restored from its ids"
    )


def test_a_part_in_which_another_check_failed_is_not_encoded_again(hand_build: Any) -> None:  # noqa: ANN401  (conftest.HandBuild)
    path = hand_build.root / "encode/12/web-heldout-00000.bin"
    swap_ids(path, 2)
    report = audit_build(hand_build.manifest, "bytes")
    assert [(f.equation, f.file) for f in report.failures] == [("checksum", str(path))]
    assert report.reencoded == Reencoded(heldout=4, train=104)


@pytest.mark.parametrize(("documents", "sampled"), [(0, 0), (7, 7), (200_000, 50), (200_001, 51)])
def test_the_sample_is_the_smallest_text_hashes_one_in_4000_and_at_least_50(
    tmp_path: Path, documents: int, sampled: int
) -> None:
    hashes = [xxhash.xxh3_128_hexdigest(str(number % 199_990)) for number in range(documents)]
    write_hashes(tmp_path / "part.parquet", hashes)
    smallest = sorted(range(documents), key=lambda document: (hashes[document], document))[:sampled]
    assert list(sample_of(tmp_path / "part.parquet")) == sorted(smallest)


def test_documents_with_equal_hashes_are_sampled_in_their_order(tmp_path: Path) -> None:
    write_hashes(tmp_path / "part.parquet", ["ab" * 16] * 300)
    assert list(sample_of(tmp_path / "part.parquet")) == list(range(50))


def write_hashes(path: Path, hashes: Sequence[str]) -> None:
    """Write the columns of a provenance that a sample depends on."""
    numbers = pa.array(range(len(hashes)), pa.int64())
    pq.write_table(pa.table({"document": numbers, "text_xxh128": pa.array(hashes, pa.string())}), path)


def test_counts_add_up_and_sources_without_texts_are_named() -> None:
    both = Reencoded(heldout=1200, train=20, without_texts=("old",)) + Reencoded(
        train=3, not_restored=4, with_control_tokens=5
    )
    assert str(both) == (
        "re-encoded 1,200 held-out and 23 sampled training documents with the reference tokenizer; "
        "4 sampled texts could not be restored from their ids; "
        "5 sampled conversations with control tokens not re-encoded here (`--depth replay` renders and encodes every "
        "record); no texts to re-encode in sources adopted from .bin/.idx: old"
    )
