"""What a plan says after a build of what deduplication took from each mixture."""

from __future__ import annotations

from pathlib import Path

from mixproof.cli.request import budgets_of
from mixproof.cli.tables.cross_source_losses import lost_by_mixture, lost_json
from mixproof.ledger.manifest import Manifest, MatrixRow, Totals
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.mixtures.load import load_spec

SPEC = """
schema: 1
name: lost
sources:
  web: {files: "web/*.jsonl"}
  code: {files: "code/*.jsonl"}
  books: {files: "books/*.jsonl"}
tokenizer: {sentencepiece: tok.model}
mixtures:
  all: {web: 50%, code: 25%, books: 25%}
  no_code: {web: 50%, code: 0%, books: 50%}
train:
  proxies:
    nano: {tokens: 1M, global_batch_size: 4, lr: 1.0e-3, min_lr: 1.0e-4}
"""


def row(source: str, lost_to: str, documents: int, size: int) -> MatrixRow:
    return MatrixRow(source=source, lost_to=lost_to, documents=documents, bytes=size)


def manifest(matrix: tuple[MatrixRow, ...]) -> Manifest:
    return Manifest(
        schema_=1,
        mixproof="0",
        spec={},
        spec_sha256="",
        tokenizer=TokenizerRecord(kind="sentencepiece", path="", sha256="", vocab_size=1, eod_id=0),
        sources={},
        dedup_matrix=matrix,
        totals=Totals(documents=0, tokens=0, bytes=0),
    )


def test_a_mixture_is_told_what_its_sources_lost_to_those_that_it_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "lost.yaml"
    path.write_text(SPEC)
    budgets = budgets_of(load_spec(path).spec, dict.fromkeys(("web", "code", "books"), 1_000_000))
    matrix = (
        row("books", "code", 1, 30),
        row("code", "web", 4, 1),
        row("web", "code", 2, 500),
        row("web", "web", 9, 7),
    )
    lost = lost_by_mixture(manifest(matrix), budgets)
    assert lost == {"all": (), "no_code": (matrix[0], matrix[2])}  # a share of zero holds nothing
    assert lost_by_mixture(None, budgets) == {}
    assert lost_json(lost) == {
        "all": {"bytes": 0, "rows": []},
        "no_code": {
            "bytes": 530,
            "rows": [
                {"source": "books", "lost_to": "code", "documents": 1, "bytes": 30},
                {"source": "web", "lost_to": "code", "documents": 2, "bytes": 500},
            ],
        },
    }
