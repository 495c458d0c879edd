"""Encode both sides of every source, training and held out, and make their datasets."""

from __future__ import annotations

from .choose_documents import ChosenDocuments
from .compose_manifest import Side
from .dataset.parts import make_datasets
from .encode import encode_texts
from .shard_tokens import Texts, texts_of


def encode_sources(documents: ChosenDocuments, *, part_bytes: int) -> dict[str, tuple[Side, Side]]:
    """Encode what was chosen; returns the training and the held-out side by source.

    Args:
        documents: the chosen documents, and their tokenizer.
        part_bytes: maximum size of a part's `.bin`, in bytes.

    Raises:
        AccountError: when E2, E3 or E5 does not hold in a shard.
    """
    job, tokenizer, labels = documents.job, documents.tokenizer, documents.divided.labels
    splits: list[tuple[str, str, list[Texts]]] = []
    for name, source in documents.sources.items():
        splits.append((name, "train", texts_of(source, documents.train[name])))
        splits.append((name, "heldout", [_heldout_texts(documents, name)]))
    with job.clock.time("encode"):
        shards = [shard for _, _, texts in splits for shard in texts]
        encoded = iter(encode_texts(shards, tokenizer, job.store, job.cluster))
    done = [(name, split, tuple(next(encoded) for _ in texts)) for name, split, texts in splits]
    with job.clock.time("assemble"):
        labelled = {
            (name, split): labels[name]
            for name, split, _ in done
            if name in labels and (split == "train" or documents.heldout[name].imported_from is None)
        }
        datasets = make_datasets(done, tokenizer, job.store, job.cluster, part_bytes=part_bytes, labels=labelled)
    sides = [Side(shards, parts) for (_, _, shards), parts in zip(done, datasets, strict=True)]
    return dict(zip(documents.sources, zip(sides[::2], sides[1::2], strict=True), strict=True))


def _heldout_texts(documents: ChosenDocuments, name: str) -> Texts:
    source, heldout = documents.sources[name], documents.heldout[name]
    return Texts(
        path=heldout.path,
        sha256=heldout.sha256,
        keep=None,
        file="",
        first_record=0,
        source=name,
        kind=source.kind,
        attributes=source.attributes,
    )
