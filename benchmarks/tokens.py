"""JSON lines to `.bin/.idx`: mixproof, Hugging Face tokenizers, datatrove and, with a checkout, Megatron-LM's tools.

    python benchmarks/tokens.py [FOLDER] [--megabytes 16] [--model tok.model] [--rounds 2]
                                [--megatron CHECKOUT] [--megatron-python PYTHON]

All sides get the same JSON lines (texts of FOLDER; default: the standard library's own sources) and the same
SentencePiece model (default: trained on them), those that read no such model get it as `tokenizer.json`. Each side runs
in a process of its own, all sides in turn, `--rounds` times; the least CPU seconds count, of the process and those it
starts. `start-up` is what the same side takes for one line: imports and the tokenizer. Ours are all stages that a
build runs: hashing the input, reading, encoding, parts, provenance, receipts, without Ray. `tokenizers` is the bare
package: orjson, `encode_batch_fast` in one thread, and our writer of the index, without provenance or checksums. It is
also the engine of datatrove. `--megatron` adds
`tools/preprocess_data.py` with two workers and `tools/preprocess_data_fast.py`, run by PYTHON (default: this one),
which needs what the checkout imports.

Then the bytes of our files are compared with those that Megatron Core's own IndexedDatasetBuilder writes of
SentencePiece's ids (and with those of `preprocess_data.py`), and it is counted how many of the others' documents have
other ids. Last, what ledger, provenance and checksums take of our seconds: a clock around the functions that do nothing
else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import SentencePieceProcessor

import mixproof.pipeline.read.documents
import mixproof.pipeline.read.identify
import mixproof.tokenize.dataset.parts
from inline import Inline
from mixproof.ledger.store import Attempt, Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources
from mixproof.pipeline.read.shard_output import ShardOutput
from mixproof.pipeline.read.shards import DOCUMENTS
from mixproof.tokenize.dataset.indexed import token_dtype, write_index
from mixproof.tokenize.dataset.parts import make_datasets
from mixproof.tokenize.encode import encode_texts
from mixproof.tokenize.shard_encoder import ShardEncoder
from mixproof.tokenize.shard_tokens import Texts
from mixproof.tokenize.tokenizer.tokenizer import store_tokenizer

VOCAB_SIZE = 32_000
TEXTS = "texts.jsonl"
ACCOUNT = (
    (mixproof.pipeline.read.identify, "_hash_batch"),
    (mixproof.pipeline.read.documents, "write_inputs"),
    (ShardOutput, "save_hashes"),
    (ShardEncoder, "check_texts"),
    (ShardEncoder, "_provenance"),
    (ShardEncoder, "row"),
    (Attempt, "commit"),
    (mixproof.tokenize.dataset.parts, "assemble_parts"),
)
"""What does nothing but the account, checksums and provenance, with all that it calls; `assemble_parts` copies the
tokens as well, so the sum says at most how much it is."""


def main() -> None:
    """Prepare texts and model, run all sides, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(sysconfig.get_path("stdlib")))
    parser.add_argument("--megabytes", type=float, default=16)
    parser.add_argument("--model", type=Path, help="SentencePiece model; trained on the texts where it is not given")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--megatron", type=Path, help="checkout of Megatron-LM")
    parser.add_argument("--megatron-python", default=sys.executable, help="interpreter that runs its tools")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)  # SIDE LINES OUTPUT, in a process of its own
    asked = parser.parse_args()
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    if asked.side:
        name, lines, output = asked.side
        SIDES[name](Path(lines), Path(output))
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), asked)


def compare(work: Path, asked: argparse.Namespace) -> None:
    """Run every side on one line and on all, and print what they took and gave."""
    texts = write_lines(asked.folder, asked.megabytes, work)
    text_bytes = sum(len(text.encode()) for text in texts)
    make_models(work, asked.model, texts)
    print(f"{len(texts):,} documents, {text_bytes / 1e6:.1f} MB of text")
    sides: dict[str, Callable[[str, str], list[str]]] = {
        name: lambda lines, output, name=name: [sys.executable, __file__, "--side", name, lines, output]  # type: ignore[misc]
        for name in SIDES
    }
    if asked.megatron:
        tools = (asked.megatron_python, str(asked.megatron / "tools"))
        sides["preprocess_data"] = lambda lines, output: megatron_call(*tools, work, lines, output)
        sides["preprocess_data_fast"] = lambda lines, output: megatron_fast_call(*tools, work, lines, output)
    seconds: dict[tuple[str, str], float] = {}
    for turn in range(asked.rounds):
        for name, call in sides.items():
            for lines in ("one", "all"):
                output = work / f"{name}-{lines}-{turn}"
                output.mkdir()
                taken = cpu_seconds(call(str(work / lines), str(output)))
                seconds[name, lines] = min(taken, seconds.get((name, lines), taken))
    print(f"{'side':<22}{'CPU s':>8}{'start-up':>10}{'MB/s of a core':>16}{'ratio':>8}{'without start-up':>18}")
    ours, start = seconds["mixproof", "all"], seconds["mixproof", "one"]
    for name in sides:
        whole, one = seconds[name, "all"], seconds[name, "one"]
        speed, ratio, net = text_bytes / (whole - one) / 1e6, whole / ours, (whole - one) / (ours - start)
        print(f"{name:<22}{whole:>8.2f}{one:>10.2f}{speed:>16.2f}{ratio:>8.1f}{net:>18.1f}")
    judge(work, texts, {name: work / f"{name}-all-0" for name in sides})
    print(f"ledger, provenance and checksums: at most {accounting(work):.1%} of our CPU seconds without start-up")


def cpu_seconds(command: Sequence[str]) -> float:
    """CPU seconds, user and system, of a command and of the processes that it waits for.

    Raises:
        subprocess.CalledProcessError: when it fails; its output is in the error.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(done.stdout.decode(errors="replace"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_lines(folder: Path, megabytes: float, work: Path) -> list[str]:
    """Write a fixed random choice of a folder's texts as JSON lines below `all`, the first below `one`; return them."""
    from dedup import texts_of  # here, because it imports scipy, which is not part of our start-up

    found = [text for text in texts_of(folder) if text]
    random.Random(1).shuffle(found)  # noqa: S311  a fixed choice
    texts: list[str] = []
    held = 0
    while held < megabytes * 1e6 and len(texts) < len(found):
        texts.append(found[len(texts)])
        held += len(texts[-1].encode())
    for name, chosen in (("all", texts), ("one", texts[:1])):
        (work / name).mkdir()
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in chosen)
        (work / name / TEXTS).write_text("".join(lines))
    return texts


def make_models(work: Path, model: Path | None, texts: Sequence[str]) -> None:
    """Put the model into the folder, and as `tokenizer.json` below `hf`."""
    from mixproof.tokenize.tokenizer.train_tokenizer import train_model
    from mixproof.train.export.huggingface_tokenizer import write_tokenizer

    (work / "tok.model").write_bytes(model.read_bytes() if model else train_model(texts[::2], VOCAB_SIZE))
    (work / "hf").mkdir()
    write_tokenizer(
        work / "tok.model", SentencePieceProcessor(model_file=str(work / "tok.model")).eos_id(), work / "hf"
    )


def tokenize(lines: Path, output: Path) -> None:
    """JSON lines to one part, by the stages that a build runs; `dataset.bin` and `.idx` are links to it."""
    store, inline = Store(output / "store"), Inline()
    inline.seconds = {}
    spec = Spec.model_validate(
        {
            "schema": 1,
            "name": "tokens",
            "sources": {"texts": {"files": ["*.jsonl"]}},
            "tokenizer": {"sentencepiece": "tok.model"},
            "mixtures": {"all": {"shares": {"texts": 1}}},
            "train": {"proxies": {"nano": {"tokens": 1, "global_batch_size": 1, "lr": 1, "min_lr": 1}}},
        }
    )
    tokenizer = store_tokenizer(store, lines.parent / "tok.model", None)
    source = read_sources(spec, find_files(spec, lines), store, inline)["texts"]
    shards = [
        Texts(f"{shard.folder}/{DOCUMENTS}", shard.documents_sha256, None, shard.file, shard.first_record, "texts")
        for shard in source.shards
    ]
    encoded = encode_texts(shards, tokenizer, store, inline)
    ((part,),) = make_datasets([("texts", "train", encoded)], tokenizer, store, inline)
    for end in (".bin", ".idx"):
        (output / f"dataset{end}").symlink_to(store.path(part.prefix + end))


def tokenize_by_tokenizers(lines: Path, output: Path) -> None:
    """JSON lines to `.bin/.idx` by the tokenizers package alone, 1,000 documents at a time."""
    import orjson
    from tokenizers import Tokenizer

    hf = lines.parent / "hf"
    tokenizer = Tokenizer.from_file(str(hf / "tokenizer.json"))
    eod = tokenizer.token_to_id(json.loads((hf / "tokenizer_config.json").read_text())["eos_token"])
    dtype = token_dtype(tokenizer.get_vocab_size())
    lengths: list[int] = []
    texts = [orjson.loads(line)["text"] for line in (lines / TEXTS).read_bytes().splitlines()]
    with (output / "dataset.bin").open("wb") as file:
        for first in range(0, len(texts), 1000):
            encodings = tokenizer.encode_batch_fast(texts[first : first + 1000], add_special_tokens=False)
            for ids in ([*encoding.ids, eod] for encoding in encodings):
                file.write(np.array(ids, dtype).data)
                lengths.append(len(ids))
    write_index(output / "dataset.idx", np.array(lengths, np.int32), dtype)


def tokenize_by_datatrove(lines: Path, output: Path) -> None:
    """JSON lines to datatrove's `.bin/.idx`, in this process."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronDocumentTokenizer
    from datatrove.utils.logging import logger

    logger.disable("datatrove")
    hf = lines.parent / "hf"
    eos = json.loads((hf / "tokenizer_config.json").read_text())["eos_token"]
    tokenizer = MegatronDocumentTokenizer(str(output), tokenizer_name_or_path=str(hf / "tokenizer.json"), eos_token=eos)
    LocalPipelineExecutor(
        [JsonlReader(str(lines)), tokenizer], tasks=1, workers=1, logging_dir=str(output / "logs")
    ).run()
    for end in (".bin", ".idx"):
        (output / f"dataset{end}").symlink_to(output / f"00000_tokens{end}")


SIDES: dict[str, Callable[[Path, Path], None]] = {
    "mixproof": tokenize,
    "tokenizers": tokenize_by_tokenizers,
    "datatrove": tokenize_by_datatrove,
}


def megatron_call(python: str, tools: str, work: Path, lines: str, output: str) -> list[str]:
    """`preprocess_data.py` with SentencePiece and two workers."""
    tokenizer = ["--tokenizer-type", "SentencePieceTokenizer", "--tokenizer-model", str(work / "tok.model")]
    files = ["--input", f"{lines}/{TEXTS}", "--output-prefix", f"{output}/dataset"]
    return [python, f"{tools}/preprocess_data.py", *files, *tokenizer, "--append-eod", "--workers", "2"]


def megatron_fast_call(python: str, tools: str, work: Path, lines: str, output: str) -> list[str]:
    """`preprocess_data_fast.py` with the same model as `tokenizer.json`, in gigatoken."""
    tokenizer = ["--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", str(work / "hf"), "--use-gigatoken"]
    files = ["--input", f"{lines}/{TEXTS}", "--output-prefix", f"{output}/dataset"]
    return [python, f"{tools}/preprocess_data_fast.py", *files, *tokenizer, "--append-eod"]


def judge(work: Path, texts: Sequence[str], outputs: dict[str, Path]) -> None:
    """Compare each side's files with SentencePiece's ids as Megatron Core writes them."""
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

    processor = SentencePieceProcessor(model_file=str(work / "tok.model"))
    reference = work / "reference"
    dtype = np.uint16 if processor.vocab_size() < 65_500 else np.int32
    builder = IndexedDatasetBuilder(f"{reference}.bin", dtype=dtype)
    for text in texts:
        ids = [*processor.encode(text), processor.eos_id()]
        builder.add_document(ids, [len(ids)])
    builder.finalize(f"{reference}.idx")
    right = IndexedDataset(str(reference), mmap=True)
    for name, output in outputs.items():
        (index,) = output.glob("dataset*.idx")
        prefix = str(index.with_suffix(""))
        ends = (".bin", ".idx")
        same = all(Path(f"{prefix}{end}").read_bytes() == Path(f"{reference}{end}").read_bytes() for end in ends)
        theirs = IndexedDataset(prefix, mmap=True)
        other = sum(not np.array_equal(theirs[i], right[i]) for i in range(len(texts)))
        print(f"{name:<22}files {'equal' if same else 'differ from'} the reference's; {other:,} texts have other ids")


def accounting(work: Path) -> float:
    """Share of the CPU seconds of `tokenize` that goes into `ACCOUNT`; the process ends with clocks in it."""
    clock = Clock()
    for place, name in ACCOUNT:
        setattr(place, name, clock.around(getattr(place, name)))
    for lines in ("one", "all"):  # the first loads the engine
        (output := work / f"accounted-{lines}").mkdir()
        clock.seconds, begin = 0.0, time.process_time()
        tokenize(work / lines, output)
        total = time.process_time() - begin
    return clock.seconds / total


class Clock:
    """CPU seconds in any of some functions; a function within another one counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with the clock running while it does."""

        def call(*arguments: object, **options: object) -> Any:  # noqa: ANN401
            self._depth += 1
            begin = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.process_time() - begin

        return call


if __name__ == "__main__":
    main()
