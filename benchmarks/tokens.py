"""JSON lines to `.bin/.idx` against datatrove's MegatronDocumentTokenizer: CPU seconds, and whose ids are exact.

    python benchmarks/tokens.py [FOLDER] [--megabytes 32] [--model tok.model]

Both sides get the same JSON lines (texts of FOLDER; default: the standard library's own sources) and the same
SentencePiece model (default: trained on them); datatrove gets it as `tokenizer.json`, one thread. Times are CPU
seconds of this process from raw lines to closed files, without imports and without loading our engine, each side
in turn, `ROUNDS` times, the least of them. Ours are all stages that a build runs: hashing the input, reading,
encoding, parts, provenance, receipts. What of it goes into ledger, provenance and checksums comes from a profile of
one more run.

Then Megatron Core's own IndexedDatasetBuilder is fed SentencePiece's ids of the same documents, and the
bytes of both files are compared with ours; of datatrove's documents it is counted how many have other ids.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dedup import Inline, texts_of
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder
from sentencepiece import SentencePieceProcessor

from mixproof.ledger.manifest import DatasetRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.documents import read_sources
from mixproof.pipeline.files import find_files
from mixproof.pipeline.read import DOCUMENTS
from mixproof.tokenize.encode import Texts, encode_texts
from mixproof.tokenize.parts import make_datasets
from mixproof.tokenize.tokenizer import store_tokenizer
from mixproof.tokenize.train_tokenizer import train_model
from mixproof.train.huggingface_tokenizer import write_tokenizer

ROUNDS = 3
VOCAB_SIZE = 32_000
ACCOUNT = frozenset(
    {"_hash_batch", "assemble_part", "commit", "_check_texts", "_provenance", "sorted_hashes", "_write_inputs"}
)
"""Functions that do nothing but the account, checksums and provenance; their times are added with all they call.
`assemble_part` copies tokens as well, so the sum says at most how much it is."""


def main() -> None:
    """Prepare texts and model, run both sides, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(sysconfig.get_path("stdlib")))
    parser.add_argument("--megabytes", type=float, default=32)
    parser.add_argument("--model", type=Path, help="SentencePiece model; trained on the texts where it is not given")
    asked = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        texts = write_lines(asked.folder, asked.megabytes, work / "lines" / "texts.jsonl")
        text_bytes = sum(len(text.encode()) for text in texts)
        (work / "tok.model").write_bytes(
            asked.model.read_bytes() if asked.model else train_model(texts[::2], VOCAB_SIZE)
        )
        print(f"{len(texts):,} documents, {text_bytes / 1e6:.1f} MB of text")
        compare(work, texts, text_bytes)


def write_lines(folder: Path, megabytes: float, path: Path) -> list[str]:
    """Write a fixed random choice of a folder's texts as JSON lines; return them."""
    path.parent.mkdir()
    found = [text for text in texts_of(folder) if text]
    random.Random(1).shuffle(found)  # noqa: S311  a fixed choice
    texts: list[str] = []
    held = 0
    with path.open("w") as lines:
        for text in found:
            texts.append(text)
            lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            held += len(text.encode())
            if held > megabytes * 1e6:
                break
    return texts


def compare(work: Path, texts: Sequence[str], text_bytes: int) -> None:
    """Run both sides in turn and print what they took and gave."""
    model = work / "tok.model"
    processor = SentencePieceProcessor(model_file=str(model))
    eos = processor.id_to_piece(processor.eos_id())
    (hf := work / "hf").mkdir()
    write_tokenizer(model, processor.eos_id(), hf)
    sides: dict[str, Callable[[int], Any]] = {
        "mixproof": lambda turn: tokenize(work, work / f"store{turn}"),
        "datatrove": lambda turn: tokenize_by_datatrove(work, hf / "tokenizer.json", eos, work / f"datatrove{turn}"),
    }
    tokenize(work, work / "warm")  # loads the engine
    seconds: dict[str, float] = {}
    for turn in range(ROUNDS):
        for name, side in sides.items():
            begin = time.process_time()
            side(turn)
            seconds[name] = min(seconds.get(name, float("inf")), time.process_time() - begin)
    for name, taken in seconds.items():
        print(f"{name:<10} {taken:8.2f} CPU s {text_bytes / taken / 1e6:8.2f} MB/s of a core")
    print(f"ratio      {seconds['datatrove'] / seconds['mixproof']:8.1f}")
    print(f"ledger, provenance and checksums: at most {accounting(work):.1%} of it")
    part = tokenize(work, work / "store0")
    ours = work / "store0" / part.prefix
    reference = write_reference(processor, texts, work / "reference")
    equal = all(
        ours.with_name(ours.name + end).read_bytes() == reference.with_name(reference.name + end).read_bytes()
        for end in (".bin", ".idx")
    )
    print(f"mixproof   .bin and .idx {'equal' if equal else 'DIFFER FROM'} those of SentencePiece and Megatron Core")
    theirs, ids = (IndexedDataset(str(p), mmap=True) for p in (work / "datatrove0" / "00000_tokens", reference))
    other = sum(not np.array_equal(theirs[i], ids[i]) for i in range(len(texts)))
    print(f"datatrove  {other:,} of {len(texts):,} documents have other ids")


def tokenize(work: Path, folder: Path) -> DatasetRecord:
    """JSON lines to one part, by the stages that a build runs."""
    store, inline = Store(folder), Inline()
    inline.seconds = {}
    spec = Spec.model_validate(
        {
            "schema": 1,
            "name": "tokens",
            "sources": {"texts": {"files": ["lines/*.jsonl"]}},
            "tokenizer": {"sentencepiece": "tok.model"},
            "mixtures": {"all": {"shares": {"texts": 1}}},
            "train": {"proxies": {"nano": {"tokens": 1, "global_batch_size": 1, "lr": 1, "min_lr": 1}}},
        }
    )
    tokenizer = store_tokenizer(store, work / "tok.model", None)
    source = read_sources(spec, find_files(spec, work), store, inline)["texts"]
    shards = [
        Texts(f"{shard.folder}/{DOCUMENTS}", shard.documents_sha256, None, shard.file, shard.first_record, "texts")
        for shard in source.shards
    ]
    encoded = encode_texts(shards, tokenizer, store, inline)
    ((part,),) = make_datasets([("texts", "train", encoded)], tokenizer, store, inline)
    return part


def tokenize_by_datatrove(work: Path, tokenizer: Path, eos: str, folder: Path) -> None:
    """JSON lines to datatrove's `.bin/.idx`, in this process."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronDocumentTokenizer
    from datatrove.utils.logging import logger

    logger.disable("datatrove")
    pipeline = [
        JsonlReader(str(work / "lines")),
        MegatronDocumentTokenizer(str(folder), tokenizer_name_or_path=str(tokenizer), eos_token=eos),
    ]
    LocalPipelineExecutor(pipeline, tasks=1, workers=1, logging_dir=str(folder / "logs")).run()


def accounting(work: Path) -> float:
    """Share of the CPU seconds of `tokenize` that goes into `ACCOUNT`, by a profile."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(tokenize, work, work / "profiled")
    stats = pstats.Stats(profile)
    times: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = stats.stats  # type: ignore[attr-defined]  # typeshed leaves it out
    spent = sum(entry[3] for (file, _, name), entry in times.items() if name in ACCOUNT and "mixproof" in file)
    return spent / max(entry[3] for entry in times.values())


def write_reference(processor: SentencePieceProcessor, texts: Sequence[str], prefix: Path) -> Path:
    """SentencePiece's ids and an EOD for each text, written by Megatron Core; return the prefix."""
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16 if processor.vocab_size() < 65_500 else np.int32)
    for text in texts:
        ids = [*processor.encode(text), processor.eos_id()]
        builder.add_document(ids, [len(ids)])
    builder.finalize(f"{prefix}.idx")
    return prefix


if __name__ == "__main__":
    main()
