"""How the cost of a build grows with the number of files: the same text in few and in many of them.

    python benchmarks/growth.py FOLDER [--files 200 2000] [--megabytes 60] [--work DIRECTORY]
    python benchmarks/growth.py FOLDER --files 100000 --one-line [--flat] [--characters 400]

Texts of FOLDER (JSON lines, Parquet, text) are cut into documents of about 1 kB, `--megabytes` of them in a fixed
random order, and written to as many JSON lines files as `--files` says, 1,000 in a folder. With `--one-line` each file
has one document of at most `--characters`, as many as there are files; with `--flat` all files are in one folder. Each
corpus is built by `mixproof build`, with exact and fuzzy deduplication, held-out sets and decontamination, and a
tokenizer that is trained beforehand: once into an empty store, a second time, a third time after a file is appended,
and a fourth time after one is removed. Reported are CPU seconds of all processes (those that Ray starts are counted
too), wall time, peak memory of the command and of its largest worker, and files, folders and bytes of the store.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import sentencepiece

from command_cost import HEADER, Cost, cost_of, line_of
from dedup import texts_of

DOCUMENT_CHARS = 1000
ONE_LINE_CHARS = 400
APPENDED_DOCUMENTS = 3
FILES_PER_FOLDER = 1000
SPEC = """
schema: 1
name: growth
sources: {{all: {{files: "{folder}/**/*.jsonl"}}}}
dedup: {{exact: true, fuzzy: {{}}}}
tokenizer: {{sentencepiece: {tokenizer}}}
mixtures: {{only: {{all: 100%}}}}
train: {{sequence_length: 512, proxies: {{nano: {{tokens: 1M, global_batch_size: 8, lr: 1.0e-3}}}}}}
"""


def documents_of(folder: Path, megabytes: float, chars: int = DOCUMENT_CHARS) -> list[str]:
    """Different documents of at most `chars` characters, in a fixed random order."""
    pieces = list(
        dict.fromkeys(text[start : start + chars] for text in texts_of(folder) for start in range(0, len(text), chars))
    )
    random.Random(1).shuffle(pieces)  # noqa: S311  a fixed order
    return list(_until(pieces, megabytes * 1e6))


def _until(texts: Sequence[str], most_bytes: float) -> Iterator[str]:
    size = 0
    for text in texts:
        size += len(text.encode())
        if size > most_bytes:
            return
        yield text


def write_files(texts: Sequence[str], number: int, folder: Path, *, is_flat: bool = False) -> None:
    """Deal texts to `number` files, each with texts that follow each other, 1,000 files a folder or all in one."""
    for index in range(number):
        first, last = (len(texts) * each // number for each in (index, index + 1))
        write_documents(_path(folder, index, is_flat), texts[first:last])


def write_documents(path: Path, texts: Sequence[str]) -> None:
    """Write a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def _path(folder: Path, index: int, is_flat: bool, suffix: str = "") -> Path:
    inner = folder if is_flat else folder / f"{index // FILES_PER_FOLDER:03d}"
    return inner / f"{index:06d}{suffix}.jsonl"


def write_tokenizer(texts: Sequence[str], prefix: Path) -> Path:
    """Train a small SentencePiece model."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts[:2000]),
        model_prefix=str(prefix),
        vocab_size=4000,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return prefix.with_suffix(".model")


def measure(texts: Sequence[str], number: int, work: Path, *, is_flat: bool) -> Iterator[tuple[str, Cost]]:
    """Build, build again, build after a file was appended, and after one was removed."""
    corpus, store, spec = (work / name for name in (f"corpus-{number}", f"store-{number}", f"spec-{number}.yaml"))
    write_files(texts[:-APPENDED_DOCUMENTS], number, corpus, is_flat=is_flat)
    spec.write_text(SPEC.format(folder=corpus, tokenizer=work / "tok.model"))
    yield "build", cost_of(store, "build", str(spec))
    yield "again", cost_of(store, "build", str(spec))
    write_documents(_path(corpus, number // 2, is_flat, "-appended"), texts[-APPENDED_DOCUMENTS:])
    yield "one appended", cost_of(store, "build", str(spec))
    _path(corpus, number // 3, is_flat).unlink()
    yield "one removed", cost_of(store, "build", str(spec))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", nargs="+", type=int, default=[200, 2000])
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--one-line", action="store_true")
    parser.add_argument("--characters", type=int, default=ONE_LINE_CHARS, help="of the document of a one-line file")
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        chars = given.characters if given.one_line else DOCUMENT_CHARS
        texts = documents_of(given.folder, float("inf") if given.one_line else given.megabytes, chars)
        write_tokenizer(texts, Path(work) / "tok")
        print(f"{len(texts):,} documents of {sum(len(text.encode()) for text in texts) / 1e6:.1f} MB", flush=True)
        print(HEADER, flush=True)
        for number in given.files:
            own = texts[: number + APPENDED_DOCUMENTS] if given.one_line else texts
            if len(own) < number + APPENDED_DOCUMENTS:
                parser.error(f"{given.folder} has only {len(own):,} documents of {chars} characters")
            for name, cost in measure(own, number, Path(work), is_flat=given.flat):
                print(line_of(f"{number:,} {name}", cost), flush=True)
            for folder in ("corpus", "store"):
                shutil.rmtree(Path(work) / f"{folder}-{number}")


if __name__ == "__main__":
    main()
