"""Real repeats on corpora whose ranking is known: every mixture at every rung of a race, with many seeds.

    python benchmarks/known_ranking.py FOLDER [--seeds 8] [--tokens 102400]

`clean` is text of one made-up language (a chain of words), `noisy` the same language with two words of five replaced,
`other` another language with the same words. Mixtures differ in how much of them is `clean` and `noisy`, and the
objective is the loss on held-out `clean`, so the ranking is known: `m1` is the best, then `m2`, and so on.

All mixtures run to the end of all rungs, because races are replayed from the table afterwards, with any seeds and any
rule: `racing.py FOLDER/rungs.json`. The runs of the full budget are repeats for `paired_seeds.py FOLDER/rungs.json`.
The model has the width of `nano` and fewer layers, so that it learns within a minute. A killed benchmark resumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from mixproof.cli.before_work import open_for_work
from mixproof.cli.commands.build import run_build
from mixproof.mixtures.arithmetic.rungs import check_race, rung_spec, tokens_to_read
from mixproof.mixtures.search.race.stops import RUNGS
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.launch.family import train_all

WORDS, FOLLOWERS, DOCUMENT_WORDS, DOCUMENTS = 100, 4, 120, 2500
NOISE = 0.4
SHARES = ((70, 20, 10), (60, 25, 15), (52, 28, 20), (44, 30, 26), (34, 32, 34), (20, 30, 50))
"""Percentages of clean, noisy and other, from the best mixture to the worst."""
SPEC = """\
schema: 1
name: known-ranking
sources:
  clean: {{files: "clean.jsonl"}}
  noisy: {{files: "noisy.jsonl"}}
  other: {{files: "other.jsonl"}}
heldout: {{create: {{tokens: 20K}}}}
decontaminate: false
tokenizer: {{train: {{vocab_size: 400, bytes: 1MB}}}}
mixtures:
{mixtures}
target: {{tokens: {tokens}, max_epochs: {{default: 100}}}}
train:
  sequence_length: 64
  proxies:
    small:
      tokens: {tokens}
      global_batch_size: 8
      lr: 4.0e-3
      architecture: {{layers: 2, hidden: 64, ffn: 192, heads: 4, kv_heads: 2, head_dim: 16}}
  seeds: [{seeds}]
objective: {{heldout_bpb: {{clean: 1}}}}
"""


def main() -> None:
    """Generate the corpora, train all runs, and write their scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=102_400)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    write_corpora(options.folder)
    lines = [
        f"  m{number}: {{clean: {clean}%, noisy: {noisy}%, other: {other}%}}"
        for number, (clean, noisy, other) in enumerate(SHARES, start=1)
    ]
    seeds = ", ".join(map(str, range(1, options.seeds + 1)))
    spec = SPEC.format(mixtures="\n".join(lines), tokens=options.tokens, seeds=seeds)
    (options.folder / "spec.yaml").write_text(spec)
    scores = {float(part): values for part, values in train(options.folder)}
    (options.folder / "rungs.json").write_text(json.dumps({"rungs": scores}, indent=1))


def train(folder: Path) -> Iterator[tuple[Fraction, dict[str, list[float]]]]:
    """Train all runs, and yield the loss on held-out `clean` of every mixture by seed, rung after rung."""
    request = open_for_work(folder / "spec.yaml", str(folder / "store"), "run")
    parts = (*RUNGS, Fraction(1))
    with Cluster(None, None) as cluster:
        built = run_build(request, cluster)
        request = replace(request, loaded=built.loaded)
        spec, manifest = request.spec, built.manifest
        tokens_of = {name: source.train.tokens for name, source in manifest.sources.items()}
        check_race(spec)
        least = tokens_to_read(spec, tokens_of, RUNGS)
        for number, part in enumerate(parts, start=1):
            own = rung_spec(spec, tokens_of, parts[:number], list(spec.mixtures))
            found: dict[str, list[float]] = {}
            for one in train_all(own, manifest, request.store, cluster, device="cpu", least_tokens=least):
                assert one.record is not None, one.reason
                found.setdefault(one.mixture, []).append(one.record.heldout["clean"].minimized)
            print(
                f"{float(part):.0%}: { ({name: round(float(np.mean(values)), 4) for name, values in found.items()}) }"
            )
            yield part, found


def write_corpora(folder: Path) -> None:
    """Write the three sources, the same bytes every time."""
    random = np.random.default_rng(7)
    letters = np.array(list("abcdefghijklmnoprstuvwz"))
    words = np.array(sorted({"".join(random.choice(letters, random.integers(2, 4))) for _ in range(2 * WORDS)})[:WORDS])
    clean, other = (random.integers(0, WORDS, (WORDS, FOLLOWERS)) for _ in range(2))
    for name, follow, noise in (("clean", clean, 0.0), ("noisy", clean, NOISE), ("other", other, 0.0)):
        with (folder / f"{name}.jsonl").open("w") as out:
            for number in range(DOCUMENTS):
                text = " ".join(words[_chain(follow, noise, random)])
                out.write(json.dumps({"id": f"{name}-{number}", "text": text}) + "\n")


def _chain(follow: np.ndarray, noise: float, random: np.random.Generator) -> list[int]:
    """Words of one document: each is one of the followers of the word before, or with `noise` any word."""
    at, found = int(random.integers(WORDS)), []
    for choice in random.integers(0, FOLLOWERS, DOCUMENT_WORDS):
        at = int(random.integers(WORDS)) if random.random() < noise else int(follow[at, choice])
        found.append(at)
    return found


if __name__ == "__main__":
    main()
