"""Trace: from a step of a run to the documents it read, and from a document to the steps that read it.

The run's saved index is replayed with numpy, and the draw's provenance identifies the document of each row. All files
are found relative to the run's store, so a moved or copied store can be traced, and the original texts are not needed:
the text shown is decoded from the draw's ids with the run's tokenizer, which gives the original text only if the
tokenizer is lossless. A window of S targets reads S + 1 tokens, and its last token is the first of the next window in
the pass, so a token can be in two samples but is a target in only one of them.

A trace does not check that index, draw and record are intact; `audit` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.ledger.location import locate
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.mixtures.arithmetic.phase_streams import source_of_stream
from mixproof.tokenize.dataset.indexed import Index, read_index
from mixproof.tokenize.dataset.provenance import OPEN_SCHEMA
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.train.delivered_record import DrawRecord
from mixproof.train.record import RUN, TRAIN, RunRecord, read_run

from .delivered import saved_streams, spans_of
from .fim import ids_of_piece
from .saved_index import (
    INDEX_FOLDER,
    IndexRecord,
    load_array,
    read_index_record,
)
from .saved_stream import Span
from .trace_result import (
    KINDS,
    DocumentTrace,
    Sighting,
    TracedDocument,
    TracedDocuments,
    TracedPiece,
    TracedSample,
    TracedStep,
)

DECODED = "decoded from the draw's tokens with the run's tokenizer; the original text may differ"


def trace_step(target: str | Path, step: int, sample: int | None = None, *, whole: bool = False) -> TracedStep:
    """Find the documents of a batch.

    Args:
        target: a run's record or folder in its store; a path or a URL.
        step: from 1.
        sample: index in the batch of one sample; None: all samples.
        whole: show the whole text of each document instead of the tokens that were read.

    Raises:
        RequestError: when there is no such run, step or sample.
        DamagedFileError: when the index or a draw is missing or truncated.
    """
    run = _Run(target)
    if not 1 <= step <= run.record.steps:
        raise RequestError(f"--step {step}: the run has steps 1 to {run.record.steps}")
    batch = run.index.batch_of(step, run.record.global_batch_size)
    if sample is not None and not 0 <= sample < len(batch):
        raise RequestError(f"--sample {sample}: step {step} of this run has samples 0 to {len(batch) - 1}")
    samples = batch if sample is None else batch[sample : sample + 1]
    traced = tuple(_trace_sample(run, i, whole=whole) for i in samples)
    return TracedStep(str(run.location), step, traced, DECODED if run.decode else None)


def trace_document(target: str | Path, name: str) -> TracedDocuments:
    """Find the steps that read a document.

    Args:
        target: a run's record or folder in its store; a path or a URL.
        name: the document's id (`<file>#<record>` if its record has no id), or the XXH3-128 of its text.

    Raises:
        RequestError: when there is no such run, or neither the run's draws nor its build have the document.
        DamagedFileError: when the index or a draw is missing or truncated.
    """
    run = _Run(target)
    found = [
        _seen(run, stream, row)
        for stream in sorted(run.record.draws)
        for row in _rows_named(run.draw(stream).provenance, name)
    ]
    if not found:
        found = list(_not_drawn(run, name))
    if not found:
        raise RequestError(
            f"--document {name}: neither the run's draws nor its build have a document with this id or text hash"
        )
    return TracedDocuments(str(run.location), tuple(found), DECODED if run.decode else None)


class _Draw:
    """The provenance and token ids of a draw."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self.provenance = _table(prefix.with_name(f"{prefix.name}.parquet"))

    @cached_property
    def _index(self) -> Index:
        path = self._file("idx")
        if not path.is_file():
            raise DamagedFileError(str(path), "whole file", "is missing; train the run again")
        return read_index(path)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return self._index.starts

    @cached_property
    def _ids(self) -> NDArray[Any]:
        try:
            return np.memmap(self._file("bin"), self._index.dtype, mode="r")
        except (OSError, ValueError) as error:
            raise DamagedFileError(str(self._file("bin")), "whole file", f"{error}; train the run again") from None

    def document(self, source: str, row: int) -> TracedDocument:
        return _document(source, self.provenance, row)

    def ids(self, row: int, first: int, tokens: int) -> list[int]:
        start = int(self._starts[row]) + first
        found: list[int] = self._ids[start : start + tokens].tolist()
        return found

    def _file(self, suffix: str) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}.{suffix}")


class _Run:
    """A run's record, index, draws and tokenizer, all from the run's store."""

    def __init__(self, target: str | Path) -> None:
        self.location = locate(target)
        self.folder = self.location.fetch()
        self.record: RunRecord = read_run(self.folder / RUN)
        if not self.location.name.startswith(f"{TRAIN}/"):
            raise RequestError(
                f"{target}: not in the folder {TRAIN}/<key>/ of a store, so its draws cannot be found; trace the run "
                "in its store"
            )
        self._store = self.location.store
        self._draws: dict[str, _Draw] = {}

    @cached_property
    def index(self) -> IndexRecord:
        return read_index_record(self.folder / INDEX_FOLDER)

    @cached_property
    def manifest(self) -> Manifest | None:
        path = self._store.path(f"{BUILDS}/{self.record.build}/{MANIFEST}")
        return read_manifest(path) if path.is_file() else None

    @cached_property
    def decode(self) -> Callable[[list[int]], str] | None:
        """The tokenizer's decoder, without EODs and BOS; None: the tokenizer is not in the store."""
        path = None if self.manifest is None else self._store.path(self.manifest.tokenizer.path)
        if path is None or not path.is_file():
            return None
        reference = load_reference(str(path))
        around = {self.record.tokenizer.eod_id, self.record.tokenizer.bos_id}
        return lambda ids: reference.decode([[token for token in ids if token not in around]])[0]

    def draw(self, stream: str) -> _Draw:
        if stream not in self._draws:
            draw: DrawRecord = self.record.draws[stream]
            self._draws[stream] = _Draw(self._store.folder(f"draw/{draw.key}/{source_of_stream(stream)}"))
        return self._draws[stream]

    def provenance(self, part: DatasetRecord) -> pa.Table | None:
        """Read the provenance of a part of the build; None: it is not in the store."""
        path = self._store.path(part.provenance)
        return _table(path) if path.is_file() else None

    def text(self, stream: str, row: int, first: int, tokens: int) -> str | None:
        return None if self.decode is None else self.decode(self.draw(stream).ids(row, first, tokens))

    def text_with_fim(self, stream: str, span: Span, tokens: int) -> str | None:
        """Decode what a window read of a document with fill-in-the-middle, with <PRE>, <SUF> and <MID> as text."""
        if self.decode is None or self.record.fim is None or span.arrangement is None:
            return None
        declared, arrangement = self.record.fim[source_of_stream(stream)], np.array(span.arrangement, np.int32)
        ids = np.array(self.draw(stream).ids(span.document, 0, tokens))
        has_bos = self.record.tokenizer.bos_id is not None
        read = ids_of_piece(declared, ids, arrangement, span.first_token, span.tokens, has_bos=has_bos)
        names = dict(zip(declared.sentinels, ("<PRE>", "<SUF>", "<MID>"), strict=True))
        shown, part = "", list[int]()
        for token in read.tolist():
            if token in names and arrangement[0]:
                shown, part = f"{shown}{self.decode(part)}{names[token]}", []
            else:
                part.append(token)
        return shown + self.decode(part)


def _trace_sample(run: _Run, i: int, *, whole: bool) -> TracedSample:
    stream, epoch, spans = spans_of(run.folder / INDEX_FOLDER, i)
    source, draw, pieces = source_of_stream(stream), run.draw(stream), []
    for span in spans:
        document = draw.document(source, span.document)
        shown = (0, document.tokens) if whole else (span.first_token, span.tokens)
        if span.arrangement is None or whole:
            text = run.text(stream, span.document, *shown)
        else:
            text = run.text_with_fim(stream, span, document.tokens)
        fim = None if span.arrangement is None else KINDS[span.arrangement[0]]
        pieces.append(TracedPiece(document, span.first_token, span.tokens, text, fim))
    return TracedSample(i, source, epoch, tuple(pieces))


def _seen(run: _Run, stream: str, row: int) -> DocumentTrace:
    document = run.draw(stream).document(source_of_stream(stream), row)
    sightings = tuple(sorted(_sightings(run, stream, row), key=lambda sighting: sighting.sample))
    return DocumentTrace(
        document=document,
        where="drawn",
        passes=len({sighting.epoch for sighting in sightings}),
        targets=sum(sighting.targets for sighting in sightings),
        sightings=sightings,
        text=run.text(stream, row, 0, document.tokens),
    )


def _sightings(run: _Run, stream: str, row: int) -> Iterator[Sighting]:
    """Yield every sample up to the checkpoint whose window has tokens of the document."""
    samples_of = _samples_of_stream(run, stream)
    for reading in saved_streams(run.folder / INDEX_FOLDER, run.index)[stream].readings(row):
        if reading.window < len(samples_of):
            sample = int(samples_of[reading.window])
            yield Sighting(
                step=run.index.step_of(sample, run.record.global_batch_size),
                sample=sample,
                epoch=reading.epoch,
                first_token=reading.first_token,
                tokens=reading.tokens,
                targets=reading.targets,
                fim=None if reading.kind is None else KINDS[reading.kind],
            )


def _samples_of_stream(run: _Run, stream: str) -> NDArray[np.int64]:
    """Return [windows read] the sample of each window of a stream, up to the checkpoint."""
    found, before = [np.zeros(0, np.int64)], 0
    for phase in run.index.phases:
        reached = run.index.windows_of(phase, run.record.consumed_samples)
        if stream in phase.names:
            order = load_array(run.folder / INDEX_FOLDER, phase.dataset_index)[:reached]
            found.append(before + np.flatnonzero(order == phase.names.index(stream)).astype(np.int64))
        before += reached
    return np.concatenate(found)


def _not_drawn(run: _Run, name: str) -> Iterator[DocumentTrace]:
    """Find the document in the build if the run's draws do not have it."""
    for source, record in (run.manifest.sources if run.manifest is not None else {}).items():
        for where, side in (("not drawn", record.train), ("held out", record.heldout)):
            for part in side.datasets:
                rows = run.provenance(part)
                for row in [] if rows is None else _rows_named(rows, name):
                    yield DocumentTrace(_document(source, rows, row), where, 0, 0, (), None)


def _rows_named(provenance: pa.Table, name: str) -> list[int]:
    named = pc.or_(pc.equal(provenance["id"], name), pc.equal(provenance["text_xxh128"], name))
    rows: list[int] = np.flatnonzero(named.to_numpy()).tolist()
    return rows


def _document(source: str, provenance: pa.Table, row: int) -> TracedDocument:
    (values,) = provenance.slice(row, 1).to_pylist()
    return TracedDocument(source=source, **{name: values[name] for name in OPEN_SCHEMA.names})


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, columns=OPEN_SCHEMA.names)
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedFileError(str(path), "provenance", str(error).splitlines()[0]) from None
