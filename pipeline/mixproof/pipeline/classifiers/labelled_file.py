"""A labelled file: texts that people called positive or negative, to measure a classifier on."""

from __future__ import annotations

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Source
from mixproof.pipeline.heldout.evaluation import EvaluationFile
from mixproof.pipeline.read.read_task import read_task
from mixproof.pipeline.read.records import records_of
from mixproof.pipeline.read.shards import ShardPlan
from mixproof.pipeline.readers.unchanged import verified
from mixproof.pipeline.readers.value import value_of
from mixproof.pipeline.record import BLANK, Reject

LABEL = "label"
MEANINGS = {"1": True, "true": True, "0": False, "false": False}


def read_labelled(file: EvaluationFile, text: str) -> tuple[list[str], list[bool]]:
    """Read the texts of a labelled file, and whether each is positive.

    Args:
        file: JSON lines or Parquet.
        text: the field that holds the text.

    Raises:
        RequestError: when a record has no text or another label, or all labels are equal; names file and record.
        DamagedFileError: when the file cannot be read to its end.
    """
    url = file.file.url
    source = Source(files=(url,), text=text, split_by=LABEL)  # so that the reader gives the field
    task = read_task(ShardPlan("labelled", (file.file,), 0, file.file.bytes), source, {url: file.sha256})
    texts: list[str] = []
    labels: list[bool] = []
    with verified(url, file.sha256):
        for item in records_of(file.file, task, lambda _: None):
            if isinstance(item, Reject):
                if item.reason == BLANK:
                    continue
                raise RequestError(f"{url}: record {item.record}: {item.reason}: {item.detail}; correct the record")
            value = value_of(item, LABEL)
            meaning = None if isinstance(value, Reject) else MEANINGS.get(value.lower())
            if meaning is None:
                shown = value.detail if isinstance(value, Reject) else f"{LABEL}: {value!r}"
                raise RequestError(f"{url}: record {item.record}: {shown}: the field {LABEL!r} must be 1 or 0")
            texts.append(item.text)
            labels.append(meaning)
    if len(set(labels)) != 2:
        raise RequestError(f"{url}: needs records with {LABEL} 1 and records with {LABEL} 0 to measure ROC-AUC")
    return texts, labels
