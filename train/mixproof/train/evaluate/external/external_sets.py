"""External evaluation sets: texts from outside the build, encoded with a run's tokenizer, scored like a held-out set.

A set is all records of its files, in file order. A record without text is an error, because scores on part of a set
are not comparable with scores on all of it. Bits per byte are defined in `evaluate`: each document alone after an EOD,
every token and EOD a target once, over the UTF-8 bytes of the unchanged texts.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import InputFile, find_others
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.readers.unchanged import hash_file, verified
from mixproof.pipeline.record import BLANK, Raw
from mixproof.tokenize.tokenizer.reference import Reference
from mixproof.train.evaluate.heldout_parts import HeldoutDocuments


@dataclass(frozen=True)
class ExternalSet:
    """A set, identified by its content."""

    name: str
    files: tuple[InputFile, ...]
    sha256: tuple[str, ...]
    """One per file."""
    text: str
    """Field that holds the text."""

    @property
    def identity(self) -> dict[str, object]:
        """What a score depends on: file contents and text field, not the set's name or the files' paths."""
        return {"files": list(self.sha256), "text": self.text}


def find_external_sets(spec: Spec, base: Path) -> list[ExternalSet]:
    """Find and hash the files of `external.sets`; relative paths start at `base`.

    Raises:
        RequestError: when a pattern matches no file, or a file name has no known format suffix.
    """
    external = spec.external
    if external is None:
        return []
    found = []
    for name, patterns in sorted(external.sets.items()):
        files = find_others(patterns, base, where=spec.where("external", "sets", name))
        hashes = tuple(hash_file(file.url)[1] for file in files)
        found.append(ExternalSet(name, files, hashes, external.text))
    return found


def read_external_set(chosen: ExternalSet, reference: Reference, tokenizer: TokenizerRecord) -> HeldoutDocuments:
    """Read and encode a set.

    Raises:
        RequestError: when a record has no text (names file and record), the set has no record, or a file is no longer
            the one that was hashed.
        DamagedFileError: when a file cannot be read to its end.
    """
    rows = []
    for file, sha256 in zip(chosen.files, chosen.sha256, strict=True):
        with verified(file.url, sha256):
            rows += [(file.name, item.record, item.text) for item in _records(chosen, file)]
    if not rows:
        raise RequestError(f"external set {chosen.name}: no record in {', '.join(file.url for file in chosen.files)}")
    texts = [text for _, _, text in rows]
    encoded = reference.encode(texts)
    ends = np.cumsum(encoded.lengths)
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    before = np.arange(len(texts) + 1) * (1 + len(bos))
    ids = np.insert(encoded.ids.astype(np.int32), ends, tokenizer.eod_id)
    if bos:
        ids = np.insert(ids, np.concatenate([[0], ends[:-1] + np.arange(1, len(texts))]), bos)
    return HeldoutDocuments(
        source=chosen.name,
        ids=ids,
        starts=(np.concatenate([[0], ends]) + before).astype(np.int64),
        file=[name for name, _, _ in rows],
        record=np.array([record for _, record, _ in rows], np.int64),
        text_bytes=np.array([len(text.encode()) for text in texts], np.int64),
        text_xxh128=[xxhash.xxh3_128_hexdigest(text.encode()) for text in texts],
    )


def check_external_sets(sets: Sequence[ExternalSet]) -> None:
    """Look at the first records of every file of the sets.

    Raises:
        RequestError: when one of them has no text; names file and record.
        DamagedFileError: when a file is not in its format.
    """
    for chosen in sets:
        for file in chosen.files:
            with closing(_records(chosen, file)) as records:
                next(records, None)


def _records(chosen: ExternalSet, file: InputFile) -> Generator[Raw, None, None]:
    if file.format == "parquet":
        records = read_parquet(file.url, 0, file.bytes, text=chosen.text, id_="id", with_fields=False)
    else:
        records = read_jsonl(file.url, file.compression, 0, file.bytes, text=chosen.text, id_="id", with_fields=False)
    for item in records:
        if isinstance(item, Raw):
            yield item
        elif item.reason != BLANK:
            raise RequestError(
                f"external set {chosen.name}: {file.url}, record {item.record}: {item.reason} in field "
                f"{chosen.text!r}: {item.detail}; remove the record from the set"
            )
