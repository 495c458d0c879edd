"""The four filters against datatrove's own, on the same documents, in the same run, in turns.

    python benchmarks/filters.py [FOLDER] [--megabytes 8] [--warm 40] [--seed 1]

FOLDER holds jsonl (plain, gz, zst) and Parquet files with the field `text`, at any depth; without one, the text of the
Python installation that the demo uses is taken. Documents come in an order drawn by the seed. The first `--warm` MB are
only run through our filters: datatrove's have no memo to fill. Then `--megabytes` MB are run through both, by turns of
about 100 KB, each filter on each document on its own: Gopher quality, Gopher repetition, C4, FineWeb, with datatrove's
defaults. Printed: MB of text per second of CPU time on one core, the ratio, and by filter how many decisions differ: a
different reason counts, and so does a different text that C4 leaves.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from datatrove.data import Document as DatatroveDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from mixproof.cli.demo_corpus import gather
from mixproof.mixtures.spec import Step
from mixproof.pipeline.readers.jsonl import read_jsonl
from mixproof.pipeline.readers.parquet import read_parquet
from mixproof.pipeline.readers.record import Raw, Records
from mixproof.pipeline.steps import Drop, make_steps
from mixproof.pipeline.steps.document import Document

TURN_BYTES = 100_000
COMPRESSION = {".gz": "gz", ".zst": "zst"}
THEIRS = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4_quality": C4QualityFilter,
    "fineweb_quality": FineWebQualityFilter,
}
Decisions = list[tuple[str | None, str]]
"""Per filter: the reason a document went, or None and the text that stays."""


def main() -> None:
    """Print rates, ratio and disagreements."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--warm", type=float, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    texts = list(_texts(options.folder) if options.folder else _demo_texts())
    random.Random(options.seed).shuffle(texts)  # noqa: S311 - an order, not a secret
    warm, rest = _take(texts, options.warm * 1e6)
    measured, _ = _take(rest or texts, options.megabytes * 1e6)
    _report(warm if rest else texts, measured)


def _report(warm: list[str], measured: list[str]) -> None:
    ours, theirs = _ours(), _theirs()
    for text in warm:
        ours(text)
    theirs(measured[0])  # loads spaCy
    seconds, differ = [0.0, 0.0], Counter[str]()
    rest = measured
    while rest:
        turn, rest = _take(rest, TURN_BYTES)
        found = []
        for side, run in enumerate((ours, theirs)):
            started = time.process_time()
            found.append([run(text) for text in turn])
            seconds[side] += time.process_time() - started
        for mine, other in zip(*found, strict=True):
            differ.update(name for name, a, b in zip(THEIRS, mine, other, strict=True) if a != b)
    size = sum(len(text.encode()) for text in measured) / 1e6
    rates = [size / spent for spent in seconds]
    print(f"{len(measured)} documents, {size:.1f} MB, after {sum(map(len, warm)) / 1e6:.0f} M characters of others")
    print(f"mixproof {rates[0]:.2f} MB/s, datatrove {rates[1]:.3f} MB/s, ratio {rates[0] / rates[1]:.1f}")
    for name in THEIRS:
        print(f"{name:<18} {differ[name]} decisions differ, {100 * (1 - differ[name] / len(measured)):.3f}% agree")


def _ours() -> Callable[[str], Decisions]:
    steps = make_steps([Step(name=name) for name in THEIRS])

    def run(text: str) -> Decisions:
        document = Document(Raw(0, None, text))
        results = [step.apply(document) for step in steps]
        return [(result.reason, "") if isinstance(result, Drop) else (None, result) for result in results]

    return run


def _theirs() -> Callable[[str], Decisions]:
    filters = [kind() for kind in THEIRS.values()]

    def run(text: str) -> Decisions:
        decisions: Decisions = []
        for one in filters:
            document = DatatroveDocument(text=text, id="")
            decision = one.filter(document)
            decisions.append((None, document.text) if decision is True else (decision[1], ""))
        return decisions

    return run


def _take(texts: list[str], size: float) -> tuple[list[str], list[str]]:
    taken = 0
    for number, text in enumerate(texts):
        if taken >= size:
            return texts[:number], texts[number:]
        taken += len(text.encode())
    return texts, []


def _texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        for item in _records(path):
            if isinstance(item, Raw):
                yield item.text


def _records(path: Path) -> Records:
    if path.suffix == ".parquet":
        return read_parquet(str(path), 0, path.stat().st_size, text="text", id_="id", with_fields=False)
    compression = COMPRESSION.get(path.suffix)
    if (path.stem if compression else path.name).endswith((".jsonl", ".ndjson")):
        size = path.stat().st_size
        return read_jsonl(str(path), compression, 0, size, text="text", id_="id", with_fields=False)
    return iter(())


def _demo_texts() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        gather(Path(folder))
        yield from _texts(Path(folder))
        for path in sorted(Path(folder).rglob("*.py")):
            yield path.read_bytes().decode(errors="replace")


if __name__ == "__main__":
    main()
