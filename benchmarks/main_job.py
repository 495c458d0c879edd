"""The main job, timed: wall time of each stage, documents and megabytes a second, tokens a second in training.

    python benchmarks/main_job.py [SPEC]

Without a spec it takes the demo's. The store is new, so nothing is reused. It prints figures and judges none.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mixproof.cli.demo.demo_corpus import gather
from mixproof.mixtures.shipped import shipped_spec


def main() -> None:
    """Run the job once in a new store and print what each stage took."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        spec = Path(sys.argv[1]) if len(sys.argv) > 1 else demo_spec(folder)
        store = folder / "store"
        started = time.perf_counter()
        command = [sys.executable, "-m", "mixproof.cli", "run", str(spec), "--store", str(store), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall_seconds = time.perf_counter() - started
        if done.returncode != 0:
            sys.exit(done.stderr)
        report(json.loads(done.stdout), wall_seconds)


def demo_spec(folder: Path) -> Path:
    """Gather the demo's corpus and write its spec beside it."""
    gather(folder / "corpus")
    spec = folder / "demo.yaml"
    spec.write_text(shipped_spec("demo"))
    return spec


def report(result: dict[str, Any], wall_seconds: float) -> None:
    """Print one line a stage of the build and one a run."""
    manifest_path = Path(result["build"]["manifest"])
    manifest = json.loads(manifest_path.read_bytes())
    circumstances = json.loads(manifest_path.with_name("circumstances.json").read_bytes())
    read = [source["ledger"][0] for source in manifest["sources"].values()]
    documents, text_bytes = sum(row["documents_in"] for row in read), sum(row["bytes_in"] for row in read)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{documents:,} records, {text_bytes / 1e6:.1f} MB of text, {manifest['totals']['tokens']:,} tokens")
    for stage, seconds in circumstances["seconds"].items():
        print(
            f"{stage:<16} {seconds:8.2f} s {documents / seconds:12,.0f} docs/s {text_bytes / seconds / 1e6:9.1f} MB/s"
        )
    for run in result["train"]["runs"]:
        facts = json.loads((Path(run["run"]) / "circumstances.json").read_bytes())
        name = f"{run['mixture']} x {run['proxy']} x seed {run['seed']}"
        print(f"{name:<40} {run['consumed_tokens']:,} tokens, {facts['tokens_per_second']:,} tokens/s in training")
    print(f"audit: {result['audit']['checks']:,} checks; whole job {wall_seconds:.1f} s")


if __name__ == "__main__":
    main()
