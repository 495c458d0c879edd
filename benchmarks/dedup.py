"""Fuzzy deduplication against datatrove's: MB of text a second of one core, and who finds what.

    python benchmarks/dedup.py [FOLDER ...] [--megabytes 4] [--planted 0.1] [--bands 24] [--rows 8] [--threshold 0.73]

Both sides get the same documents in one process: as many megabytes of each FOLDER (JSON lines, Parquet, text or Python
sources; default: the standard library's own sources), `--megabytes` together, and, for one in ten (`--planted`),
a copy with words replaced.
Times are CPU seconds. Ours read the documents from the store's Parquet files and write what a build writes; datatrove's
classes are handed the documents in memory. Both are judged by what they drop, against the exact Jaccard similarity of
word 5-grams of every pair of documents, words found by a regular expression and not by the code that is measured:
recall is the share of pairs of which not both stay, precision the share of dropped documents that are similar to the
document that stays for them. Texts that are equal byte for byte are there once, as after exact deduplication.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
import re
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import zstandard
from scipy.sparse import csr_array

from inline import Inline
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.dedup import FuzzyDedup
from mixproof.mixtures.blocks.source import OnBadRecord, Source
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.bitmap import Bitmap
from mixproof.pipeline.dedup.edges import STAGE
from mixproof.pipeline.dedup.fuzzy import deduplicate_fuzzily
from mixproof.pipeline.dedup.keepers import LOSERS
from mixproof.pipeline.inputs.files import find_files
from mixproof.pipeline.read.documents import read_sources

JACCARD_BANDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.000001)
MIN_WORDS = 20
Keepers = dict[int, int]
"""The document that stays for each that goes."""


def texts_of(folder: Path) -> Iterator[str]:
    """Every text below a folder, in the order of names."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield from texts_in(path)


def texts_in(path: Path) -> Iterator[str]:
    """Every text of a file."""
    name = path.name
    if name.endswith(".parquet"):
        yield from pq.read_table(path, columns=["text"])["text"].to_pylist()
    elif ".jsonl" in name:
        data = path.read_bytes()
        if name.endswith(".zst"):
            data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
        elif name.endswith(".gz"):
            data = gzip.decompress(data)
        yield from (record["text"] for line in data.splitlines() if "text" in (record := orjson.loads(line)))
    elif name.endswith((".txt", ".py", ".md", ".rst")):
        yield path.read_text(errors="replace")


def mixed(folders: Sequence[Path], megabytes: float, planted: float) -> list[str]:
    """Samples of folders of the same size, shuffled; each text once."""
    samples = (sample(folder, megabytes / len(folders), planted) for folder in folders)
    texts = list(dict.fromkeys(text for texts in samples for text in texts))
    random.Random(1).shuffle(texts)  # noqa: S311  a fixed order
    return texts


def sample(folder: Path, megabytes: float, planted: float) -> list[str]:
    """A fixed random choice of documents, with changed copies of a share of them among them."""
    texts = list(dict.fromkeys(text for text in texts_of(folder) if len(text.split()) >= MIN_WORDS))
    chosen = random.Random(1)  # noqa: S311  a fixed choice
    chosen.shuffle(texts)
    taken, held = [], 0
    for text in texts:
        if held > megabytes * 1e6:
            break
        taken.append(text)
        held += len(text.encode())
        if chosen.random() < planted:
            taken.append(changed(text, chosen))
            held += len(taken[-1].encode())
    chosen.shuffle(taken)
    return taken


def changed(text: str, chosen: random.Random) -> str:
    """Replace words so that about a drawn share, 0.45 to 1, of the 5-grams' union stays common."""
    jaccard = chosen.uniform(0.45, 1.0)
    rate = 1 - (2 * jaccard / (1 + jaccard)) ** (1 / 5)
    words = re.split(r"(\s+)", text)
    return "".join(f"w{chosen.randrange(10**9)}" if word.strip() and chosen.random() < rate else word for word in words)


def exact_pairs(texts: Sequence[str], at_least: float = 0.5) -> dict[tuple[int, int], float]:
    """The Jaccard similarity of word 5-grams of every pair that has `at_least`."""
    numbers: dict[tuple[str, ...], int] = {}
    rows, columns, sizes = [], [], []
    for place, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        found = set(zip(*(words[k:] for k in range(5)), strict=False)) or {tuple(words)}
        sizes.append(len(found))
        rows += [place] * len(found)
        columns += [numbers.setdefault(gram, len(numbers)) for gram in found]
    held = np.array(sizes)
    table = csr_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(len(texts), len(numbers)))
    pairs: dict[tuple[int, int], float] = {}
    for first in range(0, len(texts), 512):
        common = (table[first : first + 512] @ table.T).tocoo()
        one, two = common.row + first, common.col
        jaccard = common.data / (held[one] + held[two] - common.data)
        near = (one < two) & (jaccard >= at_least)
        pairs.update(((int(a), int(b)), float(j)) for a, b, j in zip(one[near], two[near], jaccard[near], strict=True))
    return pairs


def ours(texts: Sequence[str], rule: FuzzyDedup, folder: Path) -> tuple[dict[str, float], Keepers]:
    """CPU seconds by stage, and what went for what."""
    lines = b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts)
    (folder / "in.jsonl").write_bytes(lines)
    parts: dict[str, Any] = {  # not validated: training and mixtures are not needed here
        "schema_": 1,
        "name": "dedup",
        "sources": {"all": Source(files=("in.jsonl",))},
        "on_bad_record": OnBadRecord(),
    }
    spec = Spec.model_construct(**parts)
    store, inline = Store(folder / "store"), Inline()
    inline.seconds = {}
    source = read_sources(spec, find_files(spec, folder), store, inline)["all"]
    none: list[Bitmap | None] = [None] * len(source.shards)
    deduplicate_fuzzily(source.shards[:1], none[:1], rule, store, inline)  # tables and imports
    warm(store)
    inline.seconds = {}
    begin = time.process_time()
    deduplicate_fuzzily(source.shards, none, rule, store, inline)
    inline.seconds["all stages"] = time.process_time() - begin
    return inline.seconds, kept_for(store)


def warm(store: Store) -> None:
    """Forget what the warm-up wrote."""
    for stage in ("minhash", "fuzzy"):
        for receipt in store.path(stage).glob("*/receipt.json"):
            receipt.unlink()


def kept_for(store: Store) -> Keepers:
    """What went for what; only the receipts of this run are there."""
    lists = [
        np.load(receipt.parent / LOSERS)
        for receipt in store.path(STAGE).glob("*/receipt.json")
        if (receipt.parent / LOSERS).exists()
    ]
    return dict(np.concatenate(lists).tolist()) if lists else {}


def theirs(texts: Sequence[str], rule: FuzzyDedup, folder: Path) -> tuple[dict[str, float], Keepers]:
    """The same of datatrove's MinHash classes."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(
        n_grams=rule.ngram, num_buckets=rule.bands, hashes_per_bucket=rule.rows, hash_config=HashConfig(precision=64)
    )
    places = {name: str(folder / name) for name in ("signatures", "buckets", "clusters")}
    signatures = MinhashDedupSignature(output_folder=places["signatures"], config=config)
    documents = [Document(text=text, id=str(place)) for place, text in enumerate(texts)]
    MinhashDedupSignature(output_folder=str(folder / "warm"), config=config).run(iter(documents[:5]), 0, 1)
    seconds = {}
    begin = time.process_time()
    signatures.run(iter(documents), 0, 1)
    seconds["signatures"] = time.process_time() - begin
    buckets = MinhashDedupBuckets(input_folder=places["signatures"], output_folder=places["buckets"], config=config)
    for rank in range(rule.bands):
        buckets.run(None, rank, rule.bands)
    seconds["buckets"] = time.process_time() - begin - seconds["signatures"]
    MinhashDedupCluster(
        input_folder=places["buckets"], output_folder=places["clusters"], config=config, save_cluster_id=True,
        ignore_index_matches=False,
    ).run(None, 0, 1)  # fmt: skip
    seconds["all stages"] = time.process_time() - begin
    group_of: dict[int, list[int]] = {}
    for path in sorted(Path(places["clusters"]).glob("*.clusters")):
        table = np.frombuffer(path.read_bytes(), dtype=np.dtype([("document", "<u4"), ("cluster", "<u4")]))
        for document, cluster in table.tolist():
            group_of.setdefault(cluster, []).append(document)
    return seconds, {other: min(group) for group in group_of.values() for other in group if other != min(group)}


def judge(found: Keepers, exact: dict[tuple[int, int], float]) -> list[float]:
    """Recall in each Jaccard band, recall at 0.8 and above, precision at 0.7."""
    recalls = []
    for low, high in [*pairwise(JACCARD_BANDS), (0.8, 2.0)]:
        inside = [pair for pair, jaccard in exact.items() if low <= jaccard < high]
        missed = sum(one not in found and other not in found for one, other in inside)
        recalls.append(1 - missed / len(inside) if inside else float("nan"))
    right = sum(exact.get((min(pair), max(pair)), 0.0) >= 0.7 for pair in found.items())
    return [*recalls, right / len(found) if found else float("nan")]


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folders", nargs="*", metavar="FOLDER", type=Path, default=[Path(sysconfig.get_path("stdlib"))])
    asked.add_argument("--megabytes", type=float, default=4)
    asked.add_argument("--planted", type=float, default=0.1, help="share of documents with a changed copy")
    asked.add_argument("--ours-only", action="store_true", help="leave datatrove out: its words take minutes")
    default = FuzzyDedup()
    asked.add_argument("--bands", type=int, default=default.bands)
    asked.add_argument("--rows", type=int, default=default.rows)
    asked.add_argument("--threshold", type=Fraction, nargs="*", default=[default.threshold])
    given = asked.parse_args()
    texts = mixed(given.folders, given.megabytes, given.planted)
    size = sum(len(text.encode()) for text in texts) / 1e6
    exact = exact_pairs(texts)
    bounds = list(pairwise(JACCARD_BANDS))
    counts = [sum(low <= jaccard < high for jaccard in exact.values()) for low, high in bounds]
    print(f"{', '.join(map(str, given.folders))}: {len(texts)} documents, {size:.1f} MB; pairs by Jaccard similarity:")
    print("  " + ", ".join(f"{low:g}-{min(high, 1):g}: {n}" for (low, high), n in zip(bounds, counts, strict=True)))
    rates = {}
    rules = [FuzzyDedup(bands=given.bands, rows=given.rows, threshold=value) for value in given.threshold]
    sides: list[tuple[str, Callable[..., tuple[dict[str, float], Keepers]], FuzzyDedup]] = [
        (f"mixproof {rule.bands} x {rule.rows}, {float(rule.threshold):g}", ours, rule) for rule in rules
    ]
    if not given.ours_only:
        sides.append(("datatrove 14 x 8", theirs, default.model_copy(update={"bands": 14, "rows": 8})))
    for name, side, rule in sides:
        with tempfile.TemporaryDirectory() as folder:
            seconds, found = side(texts, rule, Path(folder))
        rates[name] = size / seconds["all stages"]
        stages = ", ".join(f"{stage} {size / value:.4g}" for stage, value in seconds.items() if value > 0)
        *recalls, all_recall, precision = judge(found, exact)
        print(f"{name}: MB/s of a core: {stages}")
        print("  recall by band: " + ", ".join(f"{value:.3f}" for value in recalls))
        print(
            f"  recall at 0.8 and above {all_recall:.4f}, precision at 0.7 {precision:.4f}, {len(found)} documents go"
        )
    if not given.ours_only:
        for name in list(rates)[:-1]:
            print(f"{name}: {rates[name] / rates['datatrove 14 x 8']:.0f} times datatrove's rate, all stages")


if __name__ == "__main__":
    main()
