"""Compose the manifest of a build from the results of its stages, and check every equation.

Only the counts of the stages are used: E1-E3 along the rows of each source, E4 between the last row and training plus
held-out documents, E5 between encoded documents and the tokens of the datasets. Paths in the spec are replaced by the
checksums of their contents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mixproof.ledger.account import Count, StageRow, check_chain, sum_rows
from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.manifest import Manifest, MatrixRow, Totals
from mixproof.ledger.records.cells import CellsRecord
from mixproof.ledger.records.classifiers import ClassifierRecord
from mixproof.ledger.records.datasets import DatasetRecord, HeldoutRecord, HeldoutTexts, SplitRecord
from mixproof.ledger.records.dropped import CutsRecord, TwinsRecord
from mixproof.ledger.records.kept import KeptRecord
from mixproof.ledger.records.source import SourceKind, SourceRecord
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.version import VERSION
from mixproof.mixtures.identity import build_identity
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.heldout.heldout_set import HeldoutSet
from mixproof.pipeline.heldout.split import split_row
from mixproof.pipeline.read.documents import SourceDocuments

from .shard_tokens import LEDGER_STAGE, EncodedShard


@dataclass(frozen=True)
class Side:
    """The training or the held-out side of a source, encoded."""

    shards: tuple[EncodedShard, ...]
    datasets: tuple[DatasetRecord, ...]

    @property
    def row(self) -> StageRow:
        """The ledger row of encoding this side."""
        empty = StageRow(stage=LEDGER_STAGE, documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)
        return sum_rows([empty, *(shard.row for shard in self.shards)])

    def record(self, source: str, kind: SourceKind | None = None) -> SplitRecord:
        """The counts and parts of this side of a source.

        Raises:
            AccountError: E5, when the parts do not contain what was encoded.
        """
        row, tokens = self.row, sum(part.tokens for part in self.datasets)
        documents = sum(part.documents for part in self.datasets)
        expected = row.documents_out * (2 if kind == "preferences" else 1)
        if documents != expected:
            raise AccountError("E5", f"{expected} documents", f"{documents} EODs", source=source, stage=LEDGER_STAGE)
        return SplitRecord(
            documents=documents,
            tokens=tokens,
            eod_tokens=documents,
            bytes=row.bytes_out,
            datasets=self.datasets,
            supervised_tokens=None if kind is None else self._supervised_tokens(source),
        )

    def _supervised_tokens(self, source: str) -> int:
        encoded = sum(shard.supervised_tokens or 0 for shard in self.shards)
        found = sum(part.supervised_tokens or 0 for part in self.datasets)
        if encoded != found:
            expected = f"{encoded} supervised tokens"
            raise AccountError("E5", expected, f"{found} in the masks", source=source, stage=LEDGER_STAGE)
        return found


def state_source(
    documents: SourceDocuments,
    rows: Sequence[StageRow],
    train: Side,
    heldout: Side,
    texts: HeldoutSet,
    cuts: tuple[CutsRecord, ...] = (),
    twins: TwinsRecord | None = None,
    substring_cuts: tuple[CutsRecord, ...] = (),
) -> SourceRecord:
    """Compose the record of one source.

    Args:
        documents: the source as it was read.
        rows: its ledger up to decontamination.
        train: its training side.
        heldout: its held-out side.
        texts: the held-out texts.
        cuts: lists of the paragraphs that the source lost.
        twins: the list of the semantic duplicates that it lost.
        substring_cuts: lists of the substrings that the source lost.

    Raises:
        AccountError: when E2, E3, E4 or E5 does not hold.
        RequestError: when no document is left to train on.
    """
    name = documents.name
    trained = train.row
    split = split_row(name, rows[-1], Count(documents=trained.documents_in, bytes=trained.bytes_in), texts.taken)
    counted = [trained] if texts.imported_from else [trained, heldout.row]
    ledger = (*rows, split, sum_rows(counted))
    check_chain(ledger, source=name)
    if not trained.documents_out:
        raise RequestError(f"sources.{name}: no document is left to train on; {_losses(ledger)}")
    return SourceRecord(
        inputs=documents.inputs,
        train=train.record(name, documents.kind),
        heldout=HeldoutRecord(
            **heldout.record(name, documents.kind).model_dump(),
            texts=HeldoutTexts(path=texts.path, sha256=texts.sha256),
            imported_from=texts.imported_from,
        ),
        ledger=ledger,
        cuts=cuts,
        twins=twins,
        substring_cuts=substring_cuts,
        kind=documents.kind,
        attributes=documents.attributes,
    )


def refuse_empty(source: str, rows: Sequence[StageRow]) -> None:
    """Refuse a source that has no documents left.

    Raises:
        RequestError: names the source and the stages that dropped its documents.
    """
    if not rows[-1].documents_out:
        raise RequestError(f"sources.{source}: no document is left; {_losses(rows)}")


def _losses(rows: Sequence[StageRow]) -> str:
    lost = ", ".join(
        f"{row.stage} dropped {count.documents} for {reason}" for row in rows for reason, count in row.dropped.items()
    )
    records = rows[0].documents_in
    return f"of {records} records, {lost or 'none was a document'}; relax the source's steps or set other files"


def add_matrices(*matrices: Sequence[MatrixRow]) -> tuple[MatrixRow, ...]:
    """Add the losses of sources to each other from several stages, by pair of sources."""
    lost: dict[tuple[str, str], Count] = {}
    for row in (row for matrix in matrices for row in matrix):
        before = lost.get((row.source, row.lost_to), Count(documents=0, bytes=0))
        lost[row.source, row.lost_to] = before + Count(documents=row.documents, bytes=row.bytes)
    return tuple(
        MatrixRow(source=source, lost_to=keeper, documents=count.documents, bytes=count.bytes)
        for (source, keeper), count in sorted(lost.items())
    )


def state_build(
    spec: Spec,
    tokenizer: TokenizerRecord,
    sources: Mapping[str, SourceRecord],
    against: Sequence[str],
    matrix: Sequence[MatrixRow],
    cells: Mapping[str, CellsRecord] = MappingProxyType({}),
    hashes: Mapping[str, Mapping[str, Mapping[str, str]]] = MappingProxyType({}),
    classifiers: Mapping[str, ClassifierRecord] = MappingProxyType({}),
    kept: Mapping[str, KeptRecord] = MappingProxyType({}),
    semantic_table: str | None = None,
) -> Manifest:
    """Compose the manifest.

    Args:
        spec: the spec of the build.
        tokenizer: the tokenizer that encoded it.
        sources: every source's record.
        against: SHA-256 of each evaluation file, in order.
        matrix: losses of sources to each other.
        cells: how sources were divided.
        hashes: SHA-256 of the files of labels, by source, label and key of the label's kind.
        classifiers: what was trained.
        kept: by which rules sources kept documents.
        semantic_table: SHA-256 of the token table of semantic deduplication; None without it.
    """
    identity = _identity(spec, tokenizer, sources, against)
    if semantic_table is not None:
        identity["dedup"]["semantic"]["embedding"] = semantic_table
    for name, labels in hashes.items():
        for label, found in labels.items():
            (kind,) = (
                value for value in identity["sources"][name]["labels"][label].values() if isinstance(value, dict)
            )
            kind.update(found)
    sides = [side for source in sources.values() for side in (source.train, source.heldout)]
    return Manifest(
        schema_=1,
        mixproof=VERSION,
        spec=identity,
        spec_sha256=sha256_of(identity),
        tokenizer=tokenizer,
        sources=dict(sources),
        dedup_matrix=tuple(matrix),
        cells=dict(cells),
        classifiers=dict(classifiers),
        kept=dict(kept),
        totals=Totals(
            documents=sum(side.documents for side in sides),
            tokens=sum(side.tokens for side in sides),
            bytes=sum(side.bytes for side in sides),
        ),
    )


def _identity(
    spec: Spec, tokenizer: TokenizerRecord, sources: Mapping[str, SourceRecord], against: Sequence[str]
) -> dict[str, Any]:
    """The spec's identity, with checksums of contents in place of paths."""
    identity = build_identity(spec)
    for name, source in sources.items():
        identity["sources"][name]["inputs"] = source.inputs.sha256
    if spec.heldout.create is None:
        texts = {name: source.heldout.texts for name, source in sources.items()}
        identity["heldout"] = {"from": {name: text.sha256 for name, text in texts.items() if text is not None}}
    if identity["decontaminate"] is not False:
        identity["decontaminate"]["against"] = sorted(against)
    if spec.tokenizer.train is None:
        identity["tokenizer"]["sha256"] = tokenizer.sha256
    return identity
