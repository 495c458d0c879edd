"""Extractors on the pages of WARC files: pages a second through the reader, as a build reads them.

    python benchmarks/extractors.py FILE.warc.gz [FILE.warc.gz ...] [--repeat 3]

Each installed extractor reads all files in this process; the best of the repetitions counts, in pages with a text for
each CPU second, and megabytes of uncompressed WARC. Also reported: what each rejects, and the length of the texts.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import time
from collections import Counter
from pathlib import Path
from typing import get_args

from mixproof.mixtures.blocks.source import Extractor
from mixproof.pipeline.readers.warc import read_warc
from mixproof.pipeline.record import Raw


def read(files: list[Path], extractor: Extractor) -> tuple[int, int, Counter[str], float]:
    """Pages with a text, characters of all texts, rejected records by reason, and CPU seconds."""
    pages = characters = 0
    rejected: Counter[str] = Counter()
    start = time.process_time()
    for path in files:
        compression = "gz" if path.suffix == ".gz" else None
        for item in read_warc(str(path), compression, id_="url", with_fields=False, extractor=extractor):
            if isinstance(item, Raw):
                pages, characters = pages + 1, characters + len(item.text)
            else:
                rejected[item.reason] += 1
    return pages, characters, rejected, time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    size = sum(len(gzip.decompress(path.read_bytes())) for path in asked.files if path.suffix == ".gz") / 1e6
    rates: dict[str, float] = {}
    for extractor in get_args(Extractor):
        if importlib.util.find_spec(extractor) is None:
            print(f"{extractor}: not installed")
            continue
        runs = [read(asked.files, extractor) for _ in range(asked.repeat)]
        pages, characters, rejected, _ = runs[0]
        seconds = min(run[-1] for run in runs)
        rates[extractor] = pages / seconds
        lost = ", ".join(f"{reason} {number}" for reason, number in rejected.most_common())
        print(
            f"{extractor}: {pages / seconds:,.0f} pages/s, {size / seconds:.1f} MB/s, {pages:,} pages of "
            f"{characters / max(1, pages):,.0f} characters; rejected: {lost}"
        )
    if len(rates) == 2:
        print(f"resiliparse is {rates['resiliparse'] / rates['trafilatura']:.1f} times as fast as trafilatura")


if __name__ == "__main__":
    main()
