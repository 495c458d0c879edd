"""The known ranking: a blend of conversations with shuffled answers must lose against the one without.

    python benchmarks/shuffled_answers.py CHAT.jsonl.gz FOLDER [--tokens 2M] [--seeds 2] [--two-layers]
    mixproof run FOLDER/spec.yaml --store FOLDER/store

Writes two sources and a spec into FOLDER. `right` has the conversations as they are; in `shuffled`, each last answer is
that of another conversation, by one cycle through a random order, so none keeps its own. Both have the same answers, so
only a model that reads the questions can tell them apart. The held-out set is of right answers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from pathlib import Path

SPEC = """\
schema: 1
name: shuffled-answers
sources:
  right: {files: right.jsonl, format: chat}
  shuffled: {files: shuffled.jsonl, format: chat}
heldout: {create: {tokens: 20K, min_documents: 50}}
tokenizer: {train: {vocab_size: 2048}}
mixtures:
  own: {right: 100%}
  shuffled: {shuffled: 100%}
objective: {heldout_bpb: {right: 1}}
train:
  stage: sft
  sequence_length: 512
  schedule: {wsd: {warmup: 5%, decay: 20%}}
  seeds: SEEDS
  proxies:
    PROXY: {tokens: TOKENS, global_batch_size: 4, lr: 5.0e-3, min_lr: 5.0e-4ARCHITECTURE}
"""
TWO_LAYERS = ", architecture: {layers: 2, hidden: 128, ffn: 384, heads: 4, kv_heads: 2, head_dim: 32}"


def main() -> None:
    """Write the sources and the spec."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chat", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", default="2M")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--two-layers", action="store_true", help="a model of two layers of width 128, not nano")
    options = parser.parse_args()
    with gzip.open(options.chat) as file:
        records = [json.loads(line) for line in file]
    order = list(range(len(records)))
    random.Random(1).shuffle(order)  # noqa: S311  a fixed choice
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    shuffled = [
        {
            "id": f"{record['id']}/shuffled",
            "messages": [*record["messages"][:-1], records[following[at]]["messages"][-1]],
        }
        for at, record in enumerate(records)
    ]
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, source in (("right", records), ("shuffled", shuffled)):
        (options.folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in source))
    proxy, architecture = ("small", TWO_LAYERS) if options.two_layers else ("nano", "")
    spec = SPEC.replace("TOKENS", options.tokens).replace("SEEDS", str([*range(1, options.seeds + 1)]))
    spec = spec.replace("PROXY", proxy).replace("ARCHITECTURE", architecture)
    (options.folder / "spec.yaml").write_text(spec)


if __name__ == "__main__":
    main()
