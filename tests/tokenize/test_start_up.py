"""What a build does not import: each of these costs every process a tenth of a second or more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
HEAVY = ("datatrove", "fsspec", "pandas", "ray", "scipy", "tokenizers", "torch", "transformers")
PROGRAM = """
import sys
from pathlib import Path

from in_process import InProcess
from mixproof.ledger.store import Store
from mixproof.mixtures.load import load_spec
from mixproof.tokenize.build import build

build(load_spec(Path(sys.argv[1])), Store(Path(sys.argv[1]).parent / "store"), InProcess())
print(*sorted(set(sys.modules) & set(sys.argv[2:])))
"""
SPEC = """
schema: 1
name: start
sources: {a: {files: a.jsonl, steps: [{length: {min_chars: 2}}]}, b: {files: b.jsonl}}
dedup: {exact: true, paragraphs: true}
heldout: {create: {tokens: 50, min_documents: 2}}
tokenizer: {train: {vocab_size: 500, bytes: 100KB}}
mixtures: {both: {a: 50%, b: 50%}}
train: {proxies: {nano: {tokens: 1, global_batch_size: 1, lr: 1, min_lr: 1}}}
"""


def test_a_build_of_json_lines_imports_no_package_that_it_does_without(tmp_path: Path, topics: list[str]) -> None:
    for name, texts in (("a", topics[:45]), ("b", topics[40:])):
        lines = (json.dumps({"id": f"{name}{place}", "text": text}) for place, text in enumerate(texts))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "spec.yaml").write_text(SPEC)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS)])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "spec.yaml"), *HEAVY],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "\n")
