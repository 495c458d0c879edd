"""What a command loads before it works."""

from __future__ import annotations

import subprocess
import sys

COMMANDS = ("audit", "build", "compare", "diff", "plan", "run", "search_spec", "trace", "train")
"""All that read, look and send; `export` alone handles weights itself."""
HEAVY = {"datatrove", "fsspec", "megatron", "pandas", "ray", "torch", "transformers"}


def test_no_driver_loads_torch_or_ray_and_a_plan_no_scipy() -> None:
    code = (
        "import sys\nfrom importlib import import_module\nimport mixproof.cli.commands.plan\n"
        f"assert 'scipy' not in sys.modules\nfor name in {COMMANDS}:\n"
        "    import_module(f'mixproof.cli.commands.{name}')\nimport mixproof.cli.report\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
    )
    assert done.stdout.decode() == "[]\n"
