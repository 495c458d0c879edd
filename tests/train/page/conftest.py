"""Evidence as a store would hold it after a small experiment: three mixtures, two seeds, losses at every stage."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Protocol
from urllib.parse import unquote

import pytest

from mixproof.ledger.manifest import Manifest
from mixproof.train.compare.compare import compare
from mixproof.train.loop.metrics import StepMetrics
from mixproof.train.page.evidence import BuildEvidence, Evidence, Missing, RunEvidence, SpecEvidence, Statement
from mixproof.train.record import RunRecord

SOURCES = ("code", "english", "letters")
MIXTURES: dict[str, tuple[float, float, float]] = {
    "code_first": (0.75, 0.25, 0.0),
    "even": (0.5, 0.5, 0.0),
    "wordy": (0.25, 0.5, 0.25),
}
BITS = {"code_first": (1.0, 2.0, 3.0), "even": (1.1, 1.6, 2.7), "wordy": (1.3, 1.5, 1.9)}
RECORDS = 1_000
STEPS = 40
SEQUENCE, BATCH = 128, 8


class MakeRun(Protocol):
    """Makes a run with its statement."""

    def __call__(self, mixture: str, seed: int, /, **changes: object) -> RunEvidence:
        """Make it; `changes` replace fields, dotted names with `__` for the dot."""


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


BUILD = manifest()


def run_record(mixture: str, seed: int, changes: Mapping[str, object]) -> RunRecord:
    """The record of a finished run of `STEPS` steps."""
    shares = dict(zip(SOURCES, MIXTURES[mixture], strict=True))
    samples = STEPS * BATCH
    bits = dict(zip(SOURCES, BITS[mixture], strict=True))
    noise = {1: 0.0, 2: 0.004}.get(seed, 0.002)
    data: dict[str, Any] = {
        "schema": 1,
        "key": "",
        "build": BUILD.build,
        "spec_name": "trial",
        "mixture": mixture,
        "proxy": "nano",
        "seed": seed,
        "parameters": {"total": 2_089_024, "non_embedding": 1_577_024},
        "architecture": {"layers": 32, "hidden": 64, "ffn": 192, "heads": 4, "kv_heads": 2, "head_dim": 16},
        "dtype": "float32",
        "sequence_length": SEQUENCE,
        "global_batch_size": BATCH,
        "tokens_declared": samples * SEQUENCE,
        "tokens_planned": samples * SEQUENCE,
        "consumed_samples": samples,
        "consumed_tokens": samples * SEQUENCE,
        "steps": STEPS,
        "flops": 10**12,
        "recipe": {"lr": "0.01", "warmup_steps": "2", "decay_steps": "8"},
        "masks": {"document_mask": False, "eod_mask_loss": False, "reset_position_ids": False},
        "rope_base": 10_000,
        "init_from": None,
        "prior_tokens": 0,
        "tokenizer": {"sha256": digest("tokenizer"), "vocab_size": 8_000, "eod_id": 2, "lossless": True},
        "draws": {name: _draw(name) for name, part in shares.items() if part},
        "delivered": {
            name: {
                "samples": round(samples * part),
                "tokens": round(samples * part) * SEQUENCE,
                "epochs": 4 * part,
                "declared": part,
                "planned": round(samples * part) * SEQUENCE,
                "unique_tokens": min(10_240, round(samples * part) * SEQUENCE),
            }
            for name, part in shares.items()
        },
        "phases": [
            {
                "first_sample": 0,
                "samples": samples,
                "samples_of": {name: round(samples * part) for name, part in shares.items() if part},
            }
        ],
        "heldout": {
            name: {
                "loss": 2 * (score + noise),
                "bits_per_byte": score + noise,
                "tokens": 12_500,
                "bytes": 50_000,
                "documents": 50,
                "texts_sha256": digest(name, "texts"),
                "datasets_sha256": digest(name, "tokens"),
            }
            for name, score in bits.items()
        },
        "evaluation": {"protocol": 1, "sequence_length": SEQUENCE},
        "index": {},
        "files": {},
        "status": "done",
        "reason": None,
    }
    for name, value in changes.items():
        at = data
        *path, last = name.split("__")
        for part in path:
            at = at[part]
        at[last] = value
    data["key"] = digest(mixture, seed, sorted(changes.items(), key=str))
    return RunRecord.model_validate(data)


def _draw(name: str) -> dict[str, object]:
    return {
        "key": digest(name, "draw"),
        "documents": 100,
        "tokens": 65_536,
        "bin_sha256": digest(name, "draw bin"),
        "idx_sha256": digest(name, "draw idx"),
        "provenance_sha256": digest(name, "draw provenance"),
    }


def _run(mixture: str, seed: int, /, **changes: object) -> RunEvidence:
    record = run_record(mixture, seed, changes)
    sources = [name for name, share in zip(SOURCES, MIXTURES[mixture], strict=True) if share]
    metrics = tuple(
        StepMetrics(
            step=step,
            samples=step * BATCH,
            tokens=step * BATCH * SEQUENCE,
            loss=3 + 6 * math.exp(-step / 8) + 0.05 * math.sin(step + seed),
            lr=0.01,
            grad_norm=1.0,
            loss_of={name: 3 + place + 6 * math.exp(-step / 8) for place, name in enumerate(sources)},
            targets_of=dict.fromkeys(sources, BATCH * SEQUENCE // len(sources)),
        )
        for step in range(1, STEPS + 1)
    )
    place = f"/store/train/{record.key}/run.json"
    circumstances = {"device": "cpu", "tokens_per_second": 900, "versions": {"torch": "2.13.0"}, "ended": "2026-11-22"}
    return RunEvidence(record, Statement(place, record.to_bytes().decode()), metrics, circumstances)


@pytest.fixture
def make_run() -> MakeRun:
    """Maker of runs of `code_first`, `even` and `wordy`."""
    return _run


def evidence_of(
    runs: list[RunEvidence], across: str | None = None, missing: tuple[Missing, ...] = (), made: Manifest = BUILD
) -> Evidence:
    """Compare runs on the build, and gather what the page shows."""
    comparison = compare(
        [run.record for run in runs],
        None,
        across,
        audits={made.build: True},
        manifests={made.build: made},
    )
    statement = Statement(f"/store/builds/{made.build}/manifest.json", made.to_bytes().decode())
    circumstances = {"versions": {"numpy": "2.4.6"}, "engines": {"sentencepiece": 3}, "started": "2026-11-22"}
    spec = SpecEvidence(
        "trial", Statement("trial specs/trial.yaml", "schema: 1\nname: trial\n"), 1_000_000, ".mixproof"
    )
    return Evidence(
        comparison=comparison,
        specs=(spec,),
        builds=(BuildEvidence(made, statement, circumstances),),
        runs=tuple(runs),
        missing=missing,
        mixproof="0.1.0",
    )


@pytest.fixture
def evidence() -> Evidence:
    """Three mixtures with two seeds each; one run failed, another one is not there."""
    runs = [_run(mixture, seed) for mixture in MIXTURES for seed in (1, 2)]
    runs.append(_run("even", 3, status="failed", reason="the loss is no number at step 7", heldout={}))
    return evidence_of(runs, missing=(Missing("wordy", "nano", 3, "not trained yet"),))


@dataclass
class Shown:
    """One cell of a table as it stands on the page."""

    text: str = ""
    href: str | None = None


class Page(HTMLParser):
    """What a reader finds on a page: tables by id, statements by id, text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[Shown]]] = {}
        self.statements: dict[str, str] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.texts: dict[str, str] = {}
        """All text inside elements of a name: h1, li, strong, p."""
        self.json: dict[str, Any] = {}
        self._stack: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of ids, links, tables and rows."""
        given = dict(attrs)
        if tag not in ("meta", "link", "input", "br", "img"):
            self._stack.append((tag, given))
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.links += [str(given["href"])] if given.get("href") else []
        self.sources += [str(given["src"])] if given.get("src") else []
        if tag == "table":
            self.tables[str(given["id"])] = []
        if tag == "tr":
            self._rows().append([])
        if tag == "td":
            self._rows()[-1].append(Shown())
        if tag == "a" and self._inside("td"):
            self._rows()[-1][-1].href = given.get("href")

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Take note of text."""
        for tag in dict.fromkeys(tag for tag, _ in self._stack):
            self.texts[tag] = self.texts.get(tag, "") + data
        if self._inside("td"):
            self._rows()[-1][-1].text += data.strip()
        if self._inside("pre") and self._inside("details"):
            name = next(str(given["id"]) for tag, given in reversed(self._stack) if tag == "details")
            self.statements[name] = self.statements.get(name, "") + data
        if self._stack and self._stack[-1][1].get("id") == "figures":
            self.json = json.loads(data)

    def rows(self, table: str) -> list[list[str]]:
        """Texts of a table's rows, without its head."""
        return [[cell.text for cell in row] for row in self.tables[table] if row]

    def value(self, href: str) -> object:
        """What the statement that a link leads to says there."""
        anchor, _, pointer = unquote(href.removeprefix("#")).partition(":/")
        found = json.loads(self.statements[anchor])
        for name in pointer.split("/"):
            name = name.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found

    def _inside(self, tag: str) -> bool:
        return any(name == tag for name, _ in self._stack)

    def _rows(self) -> list[list[Shown]]:
        return list(self.tables.values())[-1]


@pytest.fixture
def read_page() -> Callable[[str], Page]:
    """Reader of pages."""
    return Page


@pytest.fixture
def compare_runs() -> Callable[..., Evidence]:
    """Maker of evidence from runs."""
    return evidence_of
