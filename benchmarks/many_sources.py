"""How the cost of every command grows with the number of sources: thousands of sources of a few documents each.

    python benchmarks/many_sources.py FOLDER [--sources 1000 10000] [--documents 8] [--work DIRECTORY]

Texts of FOLDER are cut into documents of about 1 kB and dealt to as many sources as `--sources` says, each with one
file and an entry in the spec. The spec has exact and fuzzy deduplication, held-out sets, decontamination and two
mixtures. Measured are `plan` into an empty store, `build` with its page, the same build again, `plan` and `audit` of
it, and a build after a source is added. Reported are CPU seconds of all processes, wall time, peak memory of the
command and of its largest worker, files, folders and bytes of the store, and the size of the page.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from command_cost import HEADER, Cost, cost_of, line_of
from growth import documents_of, write_documents, write_tokenizer

SPEC_START = ["schema: 1", "name: many", "sources:"]
SPEC_END = """\
dedup: {{exact: true, fuzzy: {{}}}}
heldout: {{create: {{tokens: 200, min_documents: 1}}}}
tokenizer: {{sentencepiece: {tokenizer}}}
mixtures:
  natural: {{rule: proportional}}
  flatter: {{rule: temperature, temperature: 2}}
train: {{sequence_length: 512, proxies: {{nano: {{tokens: {tokens}M, global_batch_size: 8, lr: 1.0e-3}}}}}}
"""


def write_sources(texts: Sequence[str], number: int, documents: int, folder: Path, spec: Path) -> None:
    """Write `number` sources, each a file of `documents` documents, and their spec."""
    lines = list(SPEC_START)
    tokens = max(1, number // 500)  # every source must get a sample
    for index in range(number):
        path = folder / f"s{index:05d}" / "part.jsonl"
        write_documents(path, texts[index * documents : (index + 1) * documents])
        lines.append(f'  s{index:05d}: {{files: "{path.parent}/*.jsonl"}}')
    spec.write_text("\n".join(lines) + "\n" + SPEC_END.format(tokenizer=spec.parent / "tok.model", tokens=tokens))


def measure(texts: Sequence[str], number: int, documents: int, work: Path) -> Iterator[tuple[str, Cost]]:
    """Every command in turn."""
    folder, store, spec, page = (work / name for name in ("corpus", "store", "many.yaml", "page.html"))
    write_sources(texts, number, documents, folder, spec)
    yield "plan", cost_of(store, "plan", str(spec))
    yield "build", cost_of(store, "build", str(spec))
    yield "again, with page", cost_of(store, "build", str(spec), "--html", str(page))
    print(f"page: {page.stat().st_size / 1e6:.1f} MB", flush=True)
    yield "plan again", cost_of(store, "plan", str(spec))
    yield "audit", cost_of(store, "audit", str(spec))
    write_sources(texts, number + 1, documents, folder, spec)
    yield "one source added", cost_of(store, "build", str(spec))
    shutil.rmtree(folder)
    shutil.rmtree(store)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--documents", type=int, default=8, help="of each source")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        texts = documents_of(given.folder, float("inf"))
        write_tokenizer(texts, Path(work) / "tok")
        print(HEADER, flush=True)
        for number in given.sources:
            if len(texts) < (number + 1) * given.documents:
                parser.error(f"{given.folder} has only {len(texts):,} documents; use fewer --documents")
            for name, cost in measure(texts, number, given.documents, Path(work)):
                print(line_of(f"{number:,} {name}", cost), flush=True)


if __name__ == "__main__":
    main()
