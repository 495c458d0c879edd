"""The statement of a build: its finished pieces into a manifest, every equation of the account closed.

Nothing is read here but what the stages have counted: E1-E3 along each source's rows, E4 where training and
held-out documents are all there were, E5 between encoded documents and the datasets' tokens. What a path
in the spec stands for enters by its content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixproof.ledger.account import Count, StageRow, check_chain, sum_rows
from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.manifest import (
    CutsRecord,
    DatasetRecord,
    HeldoutRecord,
    HeldoutTexts,
    Manifest,
    MatrixRow,
    SourceRecord,
    SplitRecord,
    TokenizerRecord,
    Totals,
)
from mixproof.ledger.version import VERSION
from mixproof.mixtures.identity import build_identity
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.heldout.heldout import HeldoutSet
from mixproof.pipeline.heldout.split import split_row
from mixproof.pipeline.read.documents import SourceDocuments

from .shard_tokens import EncodedShard

STAGE = "encode"


@dataclass(frozen=True)
class Side:
    """The training or the held-out side of a source, encoded."""

    shards: tuple[EncodedShard, ...]
    datasets: tuple[DatasetRecord, ...]

    @property
    def row(self) -> StageRow:
        """What encoding did to this side."""
        empty = StageRow(stage=STAGE, documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)
        return sum_rows([empty, *(shard.row for shard in self.shards)])

    def record(self, source: str) -> SplitRecord:
        """The side's counts and parts.

        Raises:
            AccountError: E5, when the parts do not hold what was encoded.
        """
        row, tokens = self.row, sum(part.tokens for part in self.datasets)
        documents = sum(part.documents for part in self.datasets)
        if documents != row.documents_out:
            raise AccountError("E5", f"{row.documents_out} documents", f"{documents} EODs", source=source, stage=STAGE)
        return SplitRecord(
            documents=documents, tokens=tokens, eod_tokens=documents, bytes=row.bytes_out, datasets=self.datasets
        )


def state_source(
    documents: SourceDocuments,
    rows: Sequence[StageRow],
    train: Side,
    heldout: Side,
    texts: HeldoutSet,
    cuts: tuple[CutsRecord, ...] = (),
) -> SourceRecord:
    """State one source.

    Args:
        documents: the source as it was read.
        rows: its ledger up to decontamination.
        train: its training side.
        heldout: its held-out side.
        texts: the held-out texts.
        cuts: lists of the paragraphs that the source lost.

    Raises:
        AccountError: when E2, E3, E4 or E5 does not close.
        RequestError: when no document is left to train on.
    """
    name = documents.name
    inside = train.row
    split = split_row(name, rows[-1], Count(documents=inside.documents_in, bytes=inside.bytes_in), texts.taken)
    counted = [inside] if texts.imported_from else [inside, heldout.row]
    ledger = (*rows, split, sum_rows(counted))
    check_chain(ledger, source=name)
    if not inside.documents_out:
        raise RequestError(f"sources.{name}: no document is left to train on; {_losses(ledger)}")
    return SourceRecord(
        inputs=documents.inputs,
        train=train.record(name),
        heldout=HeldoutRecord(
            **heldout.record(name).model_dump(),
            texts=HeldoutTexts(path=texts.path, sha256=texts.sha256),
            imported_from=texts.imported_from,
        ),
        ledger=ledger,
        cuts=cuts,
    )


def refuse_empty(source: str, rows: Sequence[StageRow]) -> None:
    """Refuse a source that has lost every document so far.

    Raises:
        RequestError: naming the source and what became of its documents.
    """
    if not rows[-1].documents_out:
        raise RequestError(f"sources.{source}: no document is left; {_losses(rows)}")


def _losses(rows: Sequence[StageRow]) -> str:
    lost = ", ".join(
        f"{row.stage} dropped {count.documents} for {reason}" for row in rows for reason, count in row.dropped.items()
    )
    return f"of {rows[0].documents_in} records {lost or 'none was a document'}; loosen its steps or give it other files"


def add_matrices(*matrices: Sequence[MatrixRow]) -> tuple[MatrixRow, ...]:
    """Add what sources lost to each other in several stages, by pair."""
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
) -> Manifest:
    """State the build.

    Args:
        spec: what was asked.
        tokenizer: what encoded it.
        sources: every source's statement.
        against: SHA-256 of each evaluation file, in order.
        matrix: what sources lost to each other.
    """
    identity = _identity(spec, tokenizer, sources, against)
    sides = [side for source in sources.values() for side in (source.train, source.heldout)]
    return Manifest(
        schema_=1,
        mixproof=VERSION,
        spec=identity,
        spec_sha256=sha256_of(identity),
        tokenizer=tokenizer,
        sources=dict(sources),
        dedup_matrix=tuple(matrix),
        totals=Totals(
            documents=sum(side.documents for side in sides),
            tokens=sum(side.tokens for side in sides),
            bytes=sum(side.bytes for side in sides),
        ),
    )


def _identity(
    spec: Spec, tokenizer: TokenizerRecord, sources: Mapping[str, SourceRecord], against: Sequence[str]
) -> dict[str, Any]:
    """The spec's identity with contents where it names places."""
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
