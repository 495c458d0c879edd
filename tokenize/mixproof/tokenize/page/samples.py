"""Samples of what a build dropped, by source, stage and reason, with the value that decided beside its threshold.

A build records texts of dropped documents only with `keep_dropped`; of rejected records it keeps the reader's message,
of decontaminated documents their beginning and the shared n-grams, of duplicates the document kept instead. Where none
of these exists, the counts are all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.heldout.decontaminate import DECONTAMINATE
from mixproof.pipeline.read.read_task import STAGE as READ
from mixproof.pipeline.steps.boundary import measured_value, option_value
from mixproof.pipeline.steps.deciding import option_of

from .account import Loss, losses
from .build_evidence import BuildEvidence

PER_REASON = 2
MOST_FILES = 16
"""Lists of one kind and source that are searched for samples."""
EXCERPT = 400
"""Characters of a text."""
BATCH_ROWS = 256
Row = Mapping[str, Any]
Key = tuple[str, str]
"""Stage and reason."""


@dataclass(frozen=True)
class Sample:
    """One dropped document or rejected record."""

    place: str
    """File and record, with the id if it has one."""
    text: str
    """The beginning of the text, or what is known instead of it; may be empty."""
    value: str | None = None
    """What was compared with the threshold."""


@dataclass(frozen=True)
class Dropped:
    """What was dropped from one source by one stage for one reason."""

    loss: Loss
    threshold: str | None
    """The option behind the reason, with its value."""
    samples: tuple[Sample, ...]


def dropped(store: Store, build: BuildEvidence) -> list[Dropped]:
    """All reasons for which documents were dropped, each with up to `PER_REASON` samples."""
    found, spec = list[Dropped](), build.manifest.spec
    by_source: dict[str, list[Loss]] = {}
    for loss in losses(build.manifest):
        if loss.documents:
            by_source.setdefault(loss.source, []).append(loss)
    for name, reasons in by_source.items():
        stated_in = str(reasons[0].path[1])
        steps = _steps(spec, stated_in, build.manifest.sources[stated_in])
        samples = _samples(store, build.circumstances.get("lists", {}).get(name, {}), reasons, steps)
        for loss in reasons:
            threshold = _threshold(loss, steps.get(loss.stage), spec)
            found.append(Dropped(loss, threshold, tuple(samples[loss.stage, loss.reason])))
    return found


def _steps(spec: Mapping[str, Any], name: str, source: SourceRecord) -> dict[str, Step]:
    """The steps of a source by the names of their rows in the ledger."""
    declared = spec.get("sources", {}).get(name) or {}
    made: dict[str, Step] = {}
    for entry in declared.get("steps", ()):
        step = Step.model_validate(entry)
        kind = str(step.options.get("class", step.name))
        same = sum(other.partition("#")[0] == kind for other in made)
        made[f"{kind}#{same + 1}" if same else kind] = step
    stages = {row.stage for row in source.ledger}
    return {stage: step for stage, step in made.items() if stage in stages}


def _threshold(loss: Loss, step: Step | None, spec: Mapping[str, Any]) -> str | None:
    """The option that decides, with its value."""
    if loss.stage == DECONTAMINATE and isinstance(spec.get("decontaminate"), Mapping):
        return f"overlap: {spec['decontaminate']['overlap']}"
    option = option_of(step.name, loss.reason) if step else None
    if step is None or option is None:
        return None
    value = option_value(step, option)
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    return f"{option}: {_shown(value)}" if isinstance(value, int | float | str) else option


def _samples(
    store: Store, lists: Mapping[str, Sequence[Row]], reasons: Sequence[Loss], steps: Mapping[str, Step]
) -> dict[Key, list[Sample]]:
    """Up to `PER_REASON` samples of each reason, the first in the lists."""
    found: dict[Key, list[Sample]] = {(loss.stage, loss.reason): [] for loss in reasons}
    for kind, read in _READERS.items():
        entries = lists.get(kind, ())[:MOST_FILES]
        for row in _rows(store, entries):
            key = (row.get("step") or row.get("stage") or _STAGE_OF[kind], row["reason"])
            known = found.get(key, _FULL)
            sample = read(row, steps) if len(known) < PER_REASON else None
            if sample is not None and all(sample.place != other.place for other in known):
                found[key].append(sample)
            if all(len(samples) >= PER_REASON for samples in found.values()):
                return found
    return found


def _rows(store: Store, entries: Sequence[Row]) -> Iterator[Row]:
    """The rows of lists, each with its file and the record's number in that file."""
    for entry in entries:
        with pq.ParquetFile(store.path(entry["path"])) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                for row in batch.to_pylist():
                    record = row["record"] + entry["first_record"]
                    yield {**row, "file": row.get("file") or entry["file"], "record": record}


def _rejected(row: Row, steps: Mapping[str, Step]) -> Sample:
    del steps
    return Sample(_where(row), _excerpt(row["detail"]))


def _dropped(row: Row, steps: Mapping[str, Step]) -> Sample | None:
    """A document that a step dropped; None if its text was not kept."""
    if row.get("text") is None:
        return None
    step = steps.get(row["step"])
    value = measured_value(step, row["reason"], row["text"]) if step else None
    return Sample(_where(row), _excerpt(row["text"]), None if value is None else _shown(value))


def _decontaminated(row: Row, steps: Mapping[str, Step]) -> Sample:
    del steps
    shared = row["shared_ngrams"] / max(1, min(row["ngrams"], row["match_ngrams"]))
    text = f"{_excerpt(row['start'])}\n\noverlaps with {row['match']}, which begins: {_excerpt(row['match_start'])}"
    return Sample(_where(row), text, f"{shared:.3g}")


def _removed(row: Row, steps: Mapping[str, Step]) -> Sample:
    """A duplicate, or a document of which only the location is known."""
    del steps
    if not row["kept_file"]:
        return Sample(_where(row), "")
    kept = f"kept instead: {row['kept_source']}, {row['kept_file']}, record {row['kept_record']:,}"
    cosine = row.get("cosine")  # lists of earlier versions have no such column
    return Sample(_where(row), kept, None if cosine is None else f"{cosine:.3f}")


_READERS: Mapping[str, Callable[[Row, Mapping[str, Step]], Sample | None]] = {
    "rejected": _rejected,
    "dropped": _dropped,
    "decontaminated": _decontaminated,
    "removed": _removed,
}
_STAGE_OF = {"rejected": READ, "decontaminated": DECONTAMINATE}
"""The ledger's stage of lists that do not name it in their rows."""
_FULL: Sequence[Sample] = (Sample("", ""),) * PER_REASON


def _where(row: Row) -> str:
    name = f", id {row['id']}" if row.get("id") else ""
    return f"{row['file']}, record {row['record']:,}{name}"


def _excerpt(text: str | None) -> str:
    text = (text or "").strip()
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT].rstrip()} …"


def _shown(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
