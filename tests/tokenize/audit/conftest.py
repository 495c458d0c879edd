"""A small build written by hand, file by file, with nothing of the code that writes builds."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
import xxhash

from mixproof.ledger.content import content_sha256

VOCAB = 300
EOD = 2
Columns = dict[str, tuple[list[Any], pa.DataType]]


@dataclass(frozen=True)
class Document:
    """One document of the hand-made build."""

    file: str
    record: int
    text: str
    ids: tuple[int, ...]


@dataclass
class HandBuild:
    """A store with one build, and the ways to tamper with its manifest."""

    root: Path
    manifest: Path

    def load(self) -> dict[str, Any]:
        """The manifest as plain JSON."""
        data = json.loads(self.manifest.read_bytes())
        assert isinstance(data, dict)
        return data

    def edit(self, data: Mapping[str, Any], *, rename: bool) -> Path:
        """Write the manifest anew, in its own folder or (`rename`) in the one that its new checksum names."""
        raw = to_bytes(data)
        folder = hashlib.sha256(raw).hexdigest() if rename else self.manifest.parent.name
        path = self.root / "builds" / folder / "manifest.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
        return path

    def forge(self, data: Mapping[str, Any]) -> Path:
        """Record the checksums that the files have now, so that only their content can give them away."""
        raw = json.dumps(data)
        for source in data["sources"].values():
            for split in (source["train"], source["heldout"]):
                for part in split["datasets"]:
                    for kind, name in (
                        ("bin", part["prefix"] + ".bin"),
                        ("idx", part["prefix"] + ".idx"),
                        ("provenance", part["provenance"]),
                    ):
                        raw = raw.replace(part[f"{kind}_sha256"], content_sha256(self.root / name))
            for file in (source["inputs"], source["heldout"]["texts"]):
                raw = raw.replace(file["sha256"], content_sha256(self.root / file["path"]))
        write_receipts(self.root)
        return self.edit(json.loads(raw), rename=True)


def write_receipts(root: Path) -> None:
    """Write the receipt of every output, for its files as they are."""
    for folder in (path for stage in ("encode", "heldout", "read", "tokenizer") for path in (root / stage).iterdir()):
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
            | ({"rows_sha256": content_sha256(path)} if content_sha256(path) != sha256(path) else {})
            for path in folder.iterdir()
            if path.name != "receipt.json"
        }
        fields = {"account": [], "facts": {}, "files": files, "key": folder.name, "stage": folder.parent.name}
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(body.encode()).hexdigest()
        (folder / "receipt.json").write_text(f'{body[:-1]},"sha256":"{digest}"}}')


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_bytes(data: Mapping[str, Any]) -> bytes:
    """A manifest's canonical form."""
    return (json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def write_part(root: Path, prefix: str, documents: Sequence[Document]) -> dict[str, Any]:
    """Write `.bin`, `.idx` and provenance of one part; its entry in the manifest."""
    ids = [[*document.ids, EOD] for document in documents]
    lengths = np.array([len(row) for row in ids], np.int32)
    path = root / prefix
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens = np.concatenate([np.array(row, np.uint16) for row in ids])
    tokens.tofile(f"{path}.bin")
    starts = (np.cumsum(lengths) - lengths).astype(np.int64) * 2
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, len(ids), len(ids) + 1)
    index = header + lengths.tobytes() + starts.tobytes() + np.arange(len(ids) + 1, dtype=np.int64).tobytes()
    Path(f"{path}.idx").write_bytes(index)
    columns: Columns = {
        "document": (list(range(len(ids))), pa.int64()),
        **places(documents),
        "tokens": (lengths.tolist(), pa.int32()),
    }
    write_table(Path(f"{path}.parquet"), columns)
    return {
        "prefix": prefix,
        "documents": len(ids),
        "tokens": len(tokens),
        "bin_sha256": sha256(Path(f"{path}.bin")),
        "idx_sha256": sha256(Path(f"{path}.idx")),
        "provenance": f"{prefix}.parquet",
        "provenance_sha256": content_sha256(Path(f"{path}.parquet")),
    }


def places(documents: Sequence[Document]) -> Columns:
    """Columns that say where documents come from."""
    return {
        "file": ([document.file for document in documents], pa.string()),
        "record": ([document.record for document in documents], pa.int64()),
        "id": ([f"{document.file}#{document.record}" for document in documents], pa.string()),
        "text_xxh128": ([xxhash.xxh3_128_hexdigest(document.text.encode()) for document in documents], pa.string()),
        "text_bytes": ([len(document.text.encode()) for document in documents], pa.int64()),
    }


def write_table(path: Path, columns: Columns) -> None:
    """Write columns as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()}), path)


def split(parts: Sequence[dict[str, Any]], documents: Sequence[Document]) -> dict[str, Any]:
    """A split's entry in the manifest."""
    return {
        "documents": len(documents),
        "tokens": sum(len(document.ids) + 1 for document in documents),
        "eod_tokens": len(documents),
        "bytes": text_bytes(documents),
        "datasets": list(parts),
    }


def text_bytes(documents: Sequence[Document]) -> int:
    """UTF-8 bytes of the texts."""
    return sum(len(document.text.encode()) for document in documents)


def row(stage: str, documents: int, size: int, dropped: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """A ledger row that drops what it says and lets the rest out."""
    gone = (sum(count for count, _ in dropped.values()), sum(count for _, count in dropped.values()))
    return {
        "stage": stage,
        "documents_in": documents,
        "documents_out": documents - gone[0],
        "bytes_in": size,
        "bytes_out": size - gone[1],
        "bytes_added": 0,
        "bytes_removed": 0,
        "dropped": {name: {"documents": count, "bytes": lost} for name, (count, lost) in dropped.items()},
    }


def write_source(
    root: Path, name: str, cuts: Sequence[int], seed: int, lost: tuple[int, int], model: bytes
) -> dict[str, Any]:
    """A source of two files with 30 records each; records 0 are bad, 1 to 4 of the first file held out."""
    rng = np.random.default_rng(seed)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    made = []
    for file in ("a.jsonl", "b/ä.jsonl"):
        for record in range(1, 30):
            text = f"{name} {file} {record} é" + "x" * int(rng.integers(40))
            made.append(Document(file, record, text, tuple(processor.encode(text))))
    held, train = made[:4], made[4:]
    parts = []
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(train)], strict=True)):
        parts.append(write_part(root, f"encode/{seed}/{name}-train-{number:05d}", train[start:stop]))
    held_parts = [write_part(root, f"encode/{seed}/{name}-heldout-00000", held)]
    texts = places(held)
    columns: Columns = {
        "file": texts["file"],
        "record": texts["record"],
        "id": ([None, *texts["id"][0][1:]], pa.string()),
        "text": ([document.text for document in held], pa.large_string()),
        "text_xxh128": texts["text_xxh128"],
        "text_bytes": texts["text_bytes"],
    }
    write_table(root / f"heldout/{seed}/{name}.parquet", columns)
    files: Columns = {
        "file": (["a.jsonl", "b/ä.jsonl"], pa.string()),
        "sha256": (["0" * 64, "1" * 64], pa.string()),
        "bytes": ([4000, 5000], pa.int64()),
        "records": ([30, 30], pa.int64()),
    }
    write_table(root / f"read/{seed}/inputs.parquet", files)
    size = text_bytes(made)
    dropped = {"exact_duplicate": lost} if lost[0] else {}
    return {
        "inputs": {
            "path": f"read/{seed}/inputs.parquet",
            "sha256": content_sha256(root / f"read/{seed}/inputs.parquet"),
            "files": 2,
            "records": 60,
            "bytes": 9000,
        },
        "train": split(parts, train),
        "heldout": split(held_parts, held)
        | {
            "texts": {
                "path": f"heldout/{seed}/{name}.parquet",
                "sha256": content_sha256(root / f"heldout/{seed}/{name}.parquet"),
            },
            "imported_from": None,
        },
        "ledger": [
            row("read", 60, size + lost[1], {"invalid_json": (2 - lost[0], 0)}),
            row("length", 58 + lost[0], size + lost[1], {}),
            row("dedup", 58 + lost[0], size + lost[1], dropped),
            row("decontaminate", 58, size, {}),
            row("split", 58, size, {}),
            row("encode", 58, size, {}),
        ],
    }


@pytest.fixture(scope="session")
def tiny_model() -> bytes:
    """A SentencePiece model of 300 pieces."""
    model = io.BytesIO()
    words = [f"{a}{b} {b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuv"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB,
        byte_fallback=True,
        hard_vocab_limit=True,
        minloglevel=2,
    )
    return model.getvalue()


@pytest.fixture
def processor(tiny_model: bytes) -> sentencepiece.SentencePieceProcessor:
    """The model, loaded."""
    return sentencepiece.SentencePieceProcessor(model_proto=tiny_model)


@pytest.fixture
def hand_build(tmp_path: Path, tiny_model: bytes) -> HandBuild:
    """Two sources, one in two parts; `web` lost one document of 20 bytes to `code`."""
    (tmp_path / "tokenizer/10").mkdir(parents=True)
    (tmp_path / "tokenizer/10/tok.model").write_bytes(tiny_model)
    sources = {
        "code": write_source(tmp_path, "code", [20], 11, (0, 0), tiny_model),
        "web": write_source(tmp_path, "web", [], 12, (1, 20), tiny_model),
    }
    spec = {
        "sources": {
            name: {"inputs": source["inputs"]["sha256"], "steps": [{"name": "length", "options": {"min_chars": 1}}]}
            for name, source in sources.items()
        },
        "dedup": {"exact": True},
        "heldout": {"create": {"tokens": 100}},
        "decontaminate": {"ngram": 13},
        "tokenizer": {"train": None, "sha256": sha256(tmp_path / "tokenizer/10/tok.model")},
    }
    splits = [source[side] for source in sources.values() for side in ("train", "heldout")]
    data = {
        "schema": 1,
        "mixproof": "0.1.0",
        "spec": spec,
        "spec_sha256": hashlib.sha256(
            json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        ).hexdigest(),
        "tokenizer": {
            "kind": "sentencepiece",
            "path": "tokenizer/10/tok.model",
            "sha256": sha256(tmp_path / "tokenizer/10/tok.model"),
            "vocab_size": VOCAB,
            "eod_id": EOD,
        },
        "sources": sources,
        "dedup_matrix": [{"source": "web", "lost_to": "code", "documents": 1, "bytes": 20}],
        "totals": {name: sum(part[name] for part in splits) for name in ("documents", "tokens", "bytes")},
    }
    write_receipts(tmp_path)
    raw = to_bytes(data)
    path = tmp_path / "builds" / hashlib.sha256(raw).hexdigest() / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    return HandBuild(tmp_path, path)
