"""A manifest as a small build of three sources would give it."""

from __future__ import annotations

import hashlib
from typing import Any

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.cells import CellsRecord
from mixproof.pipeline.steps.deciding import _OPTION_OF

SOURCES = ("code", "english", "letters")
RECORDS = 1_000


def digest(*parts: object) -> str:
    """A checksum as any file might have."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def manifest(rejected: int = 10) -> Manifest:
    """A build of three sources; `code` loses documents at reading, to a step, to itself and to decontamination."""
    sources = {name: _source(name, rejected if name == "code" else 0) for name in SOURCES}
    split = [source[side] for source in sources.values() for side in ("train", "heldout")]
    return Manifest.model_validate(
        {
            "schema": 1,
            "mixproof": "0.1.0",
            "spec": {},
            "spec_sha256": digest("spec"),
            "tokenizer": {
                "kind": "sentencepiece",
                "path": "tokenizer/key/tok.model",
                "sha256": digest("tokenizer"),
                "vocab_size": 8000,
                "eod_id": 2,
            },
            "sources": sources,
            "dedup_matrix": [
                {"source": "code", "lost_to": "code", "documents": 20, "bytes": 20_000},
                {"source": "code", "lost_to": "english", "documents": 5, "bytes": 5_000},
            ],
            "totals": {name: sum(side[name] for side in split) for name in ("documents", "tokens", "bytes")},
        }
    )


def _source(name: str, rejected: int) -> dict[str, Any]:
    lossy = name == "code"
    read = RECORDS - rejected
    rows = [_row("read", RECORDS, {"invalid_json": (rejected, 0)} if rejected else {}, read * 1000)]
    if lossy:
        rows.append(_row("length", read, {"too_short": (30, 3_000)}, read * 1000, removed=500))
        rows.append(_row("dedup", read - 30, {"exact_duplicate": (25, 25_000)}, rows[-1]["bytes_out"]))
        rows.append(_row("decontaminate", read - 55, {"heldout_overlap": (3, 3_000)}, rows[-1]["bytes_out"]))
    rows.append(_row("split", rows[-1]["documents_out"], {}, rows[-1]["bytes_out"]))
    rows.append(_row("encode", rows[-1]["documents_out"], {}, rows[-1]["bytes_out"]))
    out, size = rows[-1]["documents_out"], rows[-1]["bytes_out"]
    return {
        "inputs": {
            "path": f"read/{name}/inputs.parquet",
            "sha256": digest(name, "inputs"),
            "files": 3,
            "records": RECORDS,
            "bytes": RECORDS * 400,
        },
        "ledger": rows,
        "train": _split(name, "train", out - 50, size - 50_000),
        "heldout": {
            **_split(name, "heldout", 50, 50_000),
            "texts": {"path": f"heldout/{name}.parquet", "sha256": digest(name, "texts")},
            "imported_from": None,
        },
    }


def with_every_filter(made: Manifest) -> Manifest:
    """The manifest with a `code` that passes every step that has a threshold, and loses a document for each reason."""
    source = made.sources["code"]
    read, *_, split, encode = source.ledger
    rows, left = [read], read.documents_out
    dropped = {step: [reason.replace("*", "10") for reason in reasons] for step, reasons in _OPTION_OF.items()}
    dropped |= {"dedup": ["exact_duplicate", "fuzzy_duplicate"], "paragraphs": ["too_short"]}
    for stage, reasons in {**dropped, "decontaminate": ["heldout_overlap"]}.items():
        row = _row(stage, left, {reason: (1 + index, 1_000) for index, reason in enumerate(reasons)}, left * 1_000)
        rows.append(StageRow.model_validate(row))
        left = row["documents_out"]
    kept = {"documents_in": left, "documents_out": left}
    rows += [split.model_copy(update=kept), encode.model_copy(update=kept)]
    train = source.train.model_copy(update={"documents": left - source.heldout.documents})
    source = source.model_copy(update={"ledger": tuple(rows), "train": train})
    return made.model_copy(update={"sources": {**made.sources, "code": source}})


def divided_manifest() -> Manifest:
    """The same build with the 935 documents of `code` that deduplication kept divided into `code/a` and `code/b`."""
    made = manifest()
    code = made.sources["code"]
    read, length, dedup, decontaminate, split, encode = code.ledger
    parts = {}
    for name, documents, size in (("code/a", 700, 700_000), ("code/b", 235, 235_000)):
        inside = {"documents_in": documents, "documents_out": documents, "bytes_in": size, "bytes_out": size}
        others = Count(documents=dedup.documents_out - documents, bytes=dedup.bytes_out - size)
        cells = dedup.model_copy(
            update={
                "stage": "cells",
                "documents_in": dedup.documents_out,
                "documents_out": documents,
                "bytes_in": dedup.bytes_out,
                "bytes_out": size,
                "dropped": {"of_another_part": others},
            }
        )
        later = [row.model_copy(update={**inside, "dropped": {}}) for row in (decontaminate, split, encode)]
        sides = {
            side: getattr(code, side).model_copy(update={"documents": share, "bytes": 1_000 * share, "tokens": share})
            for side, share in (("train", documents - 10), ("heldout", 10))
        }
        ledger = (read, length, dedup, cells, *later)
        parts[name] = code.model_copy(update={"ledger": ledger, **sides})
    record = CellsRecord(
        axes=(),
        documents=935,
        bytes=935_000,
        parts={"code/a": Count(documents=700, bytes=700_000), "code/b": Count(documents=235, bytes=235_000)},
    )
    rest = {name: source for name, source in made.sources.items() if name != "code"}
    return made.model_copy(update={"sources": {**parts, **rest}, "cells": {"code": record}})


def _row(stage: str, documents: int, gone: dict[str, tuple[int, int]], size: int, removed: int = 0) -> dict[str, Any]:
    return {
        "stage": stage,
        "documents_in": documents,
        "documents_out": documents - sum(count for count, _ in gone.values()),
        "bytes_in": size,
        "bytes_out": size - removed - sum(lost for _, lost in gone.values()),
        "bytes_added": 0,
        "bytes_removed": removed,
        "dropped": {reason: {"documents": count, "bytes": lost} for reason, (count, lost) in gone.items()},
    }


def _split(name: str, side: str, documents: int, size: int) -> dict[str, Any]:
    part = {
        "prefix": f"encode/key/{name}-{side}-00000",
        "documents": documents,
        "tokens": size // 4,
        "bin_sha256": digest(name, side, "bin"),
        "idx_sha256": digest(name, side, "idx"),
        "provenance": f"encode/key/{name}-{side}-00000.parquet",
        "provenance_sha256": digest(name, side, "provenance"),
    }
    return {
        "documents": documents,
        "tokens": size // 4,
        "eod_tokens": documents,
        "bytes": size,
        "datasets": [part],
    }
