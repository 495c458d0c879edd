"""E1 to E6 from the numbers of a build's manifest, without opening a dataset.

Every figure of the manifest is in at least one equation with a figure that was counted independently, so an edited
count violates an equation: records are checked against `inputs.parquet`, ledger rows against each other, the last row
against training and held-out documents, and these against their parts and the totals. Only the names of drop reasons
and the version of the writer cannot be checked this way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from mixproof.ledger.account import StageRow
from mixproof.ledger.manifest import Manifest, MatrixRow
from mixproof.ledger.records.datasets import HeldoutRecord, SplitRecord
from mixproof.ledger.records.source import SourceRecord

from .cells import CELLS, check_cells, wholes_of
from .report import Checks, Equation

READ, DEDUP, SEMANTIC, PARAGRAPHS, SUBSTRINGS = "read", "dedup", "semantic", "paragraphs", "substrings"
KEEP, SPLIT, ENCODE = "keep", "split", "encode"
NO_TOKENS = "no_tokens"


def check_arithmetic(manifest: Manifest, checks: Checks) -> None:
    """Check E1 to E6 of every source, the dedup matrix and the totals."""
    for name, source in manifest.sources.items():
        at = checks.at(source=name)
        _check_rows(source, at)
        _check_split(source, at)
        for stage, split in (("train", source.train), ("heldout", source.heldout)):
            _check_dataset(split, at.at(stage=stage))
            _check_supervised(split, source.kind is not None, at.at(stage=stage))
    check_cells(manifest, checks)
    _check_matrix(manifest.dedup_matrix, wholes_of(manifest), checks)
    _check_totals(manifest, checks)
    tokenizer = manifest.tokenizer
    checks.true(
        "E5",
        tokenizer.eod_id < tokenizer.vocab_size,
        f"an EOD below the vocabulary size {tokenizer.vocab_size}",
        f"id {tokenizer.eod_id}",
    )
    if tokenizer.bos_id is not None:
        sound = tokenizer.eod_id != tokenizer.bos_id < tokenizer.vocab_size
        expected = f"a BOS below {tokenizer.vocab_size}, other than the EOD"
        checks.true("E5", sound, expected, f"id {tokenizer.bos_id}")


def _check_rows(source: SourceRecord, checks: Checks) -> None:
    """Check E1 for `read`, E2 for every row, E3 between rows, and what each stage may drop."""
    rows = source.ledger
    if not checks.true("E1", bool(rows) and rows[0].stage == READ, "a ledger that starts with `read`", _names(rows)):
        return
    read = checks.at(stage=READ)
    read.equal("E1", "records", source.inputs.records, rows[0].documents_in)
    read.equal("E1", "bytes of rejected records", 0, sum(drop.bytes for drop in rows[0].dropped.values()))
    stages = [row.stage for row in rows]
    checks.equal("E3", "stages of one name", 0, len(stages) - len(set(stages)))
    for row in rows:
        _check_row(row, checks.at(stage=row.stage))
    for before, after in pairwise(rows):
        at = checks.at(stage=after.stage)
        at.equal("E3", f"documents out of {before.stage}", before.documents_out, after.documents_in)
        at.equal("E3", f"bytes out of {before.stage}", before.bytes_out, after.bytes_in)


def _check_row(row: StageRow, checks: Checks) -> None:
    documents = sum(drop.documents for drop in row.dropped.values())
    dropped_bytes = sum(drop.bytes for drop in row.dropped.values())
    equation: Equation = "E1" if row.stage == READ else "E2"
    checks.equal(equation, "documents", row.documents_in, row.documents_out + documents)
    checks.equal("E2", "bytes", row.bytes_in + row.bytes_added, row.bytes_out + dropped_bytes + row.bytes_removed)
    if row.stage in (READ, DEDUP, SEMANTIC, KEEP, CELLS, SPLIT, ENCODE):
        checks.equal("E2", "bytes added or removed", 0, row.bytes_added + row.bytes_removed)
    if row.stage in (PARAGRAPHS, SUBSTRINGS):
        checks.equal("E2", "bytes added by cutting", 0, row.bytes_added)
    if row.stage == SPLIT:
        checks.equal("E4", "documents dropped by holding out", 0, documents)
    if row.stage == ENCODE:
        checks.equal("E5", "reasons to drop", [], sorted(set(row.dropped) - {NO_TOKENS}))


def _check_split(source: SourceRecord, checks: Checks) -> None:
    """E4: the documents after the last row are training plus held-out documents; an imported set does not count."""
    if not source.ledger:
        return
    last = source.ledger[-1]
    own: tuple[SplitRecord, ...] = (source.train,)
    if source.heldout.imported_from is None:
        own = (source.train, source.heldout)
    at = checks.at(stage=last.stage)
    documents = last.documents_out * source.documents_per_record
    at.equal("E4", "documents, train + held out", documents, sum(split.documents for split in own))
    at.equal("E4", "bytes, train + held out", last.bytes_out, sum(split.bytes for split in own))


def _check_dataset(split: SplitRecord, checks: Checks) -> None:
    """Check E5 and E6 of the training or held-out side of a source, from its counts."""
    parts = split.datasets
    checks.equal("E5", "EODs", split.documents, split.eod_tokens)
    checks.true(
        "E5",
        split.tokens >= 2 * split.documents,
        f"at least one token and an EOD for each of {split.documents} documents",
        f"{split.tokens} tokens",
    )
    checks.equal("E6", "documents in all parts", split.documents, sum(part.documents for part in parts))
    checks.equal("E6", "tokens in all parts", split.tokens, sum(part.tokens for part in parts))
    checks.equal("E6", "empty parts", 0, sum(1 for part in parts if not part.documents))
    if isinstance(split, HeldoutRecord):
        has_texts = split.texts is not None or not split.documents
        checks.true("schema", has_texts, "the texts of the held-out documents", "no texts")


def _check_supervised(split: SplitRecord, is_marked: bool, checks: Checks) -> None:
    """Check the supervised tokens of one side: stated for conversations only, at most all, the sum of its parts."""
    of_parts = [value for part in split.datasets for value in (part.supervised_tokens, part.mask_sha256)]
    stated = [split.supervised_tokens, *of_parts]
    states = [value is not None for value in stated]
    checks.true(
        "schema",
        all(states) if is_marked else not any(states),
        "supervised tokens and masks for conversations only",
        f"{sum(states)} of {len(states)} stated",
    )
    if is_marked and all(states):
        found = sum(part.supervised_tokens or 0 for part in split.datasets)
        checks.equal("E6", "supervised tokens in all parts", split.supervised_tokens, found)
        within = all((part.supervised_tokens or 0) <= part.tokens for part in split.datasets)
        checks.true("E5", within, "at most all tokens of a part supervised", "more")


def _check_matrix(matrix: Sequence[MatrixRow], sources: Mapping[str, SourceRecord], checks: Checks) -> None:
    """Check that the losses of each source in the matrix equal what deduplication dropped and removed in its ledger."""
    pairs = [(row.source, row.lost_to) for row in matrix]
    at = checks.at(stage=DEDUP)
    at.equal("E2", "pairs of sources twice in the matrix", 0, len(pairs) - len(set(pairs)))
    unknown = sorted({name for pair in pairs for name in pair} - set(sources))
    at.equal("E2", "names in the matrix that are not sources", [], unknown)
    lost_by: dict[str, list[MatrixRow]] = {}
    for row in matrix:
        lost_by.setdefault(row.source, []).append(row)
    for name, source in sources.items():
        lost = lost_by.get(name, [])
        stages = [row for row in source.ledger if row.stage in (DEDUP, SEMANTIC, PARAGRAPHS, SUBSTRINGS)]
        drops = [drop for row in stages for drop in row.dropped.values()]
        lost_bytes = sum(drop.bytes for drop in drops) + sum(row.bytes_removed for row in stages)
        here = at.at(source=name)
        here.equal(
            "E2", "documents lost by the matrix", sum(d.documents for d in drops), sum(r.documents for r in lost)
        )
        here.equal("E2", "bytes lost by the matrix", lost_bytes, sum(r.bytes for r in lost))


def _check_totals(manifest: Manifest, checks: Checks) -> None:
    splits = [split for source in manifest.sources.values() for split in (source.train, source.heldout)]
    totals = manifest.totals
    checks.equal("E6", "documents in total", sum(split.documents for split in splits), totals.documents)
    checks.equal("E6", "tokens in total", sum(split.tokens for split in splits), totals.tokens)
    checks.equal("E6", "bytes in total", sum(split.bytes for split in splits), totals.bytes)
    prefixes = [part.prefix for split in splits for part in split.datasets]
    repeated = sorted(prefix for prefix, count in Counter(prefixes).items() if count > 1)
    checks.equal("E6", "parts named twice", [], repeated)


def _names(rows: Sequence[StageRow]) -> str:
    return ", ".join(row.stage for row in rows) or "no rows"
