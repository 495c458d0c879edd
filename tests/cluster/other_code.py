"""Other code on one node: folders that `Box.start_worker` mounts over those of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

from conftest import ROOT

Install = Callable[[Path], Path]
"""Makes a folder with other code; gives the folder that it takes the place of."""


def another_mixproof(folder: Path) -> Path:
    """Copy a room of the checkout into a folder, change a module and leave one out, as in an older version."""
    shutil.copytree(ROOT / "pipeline", folder)
    changed = folder / "mixproof" / "pipeline" / "columns.py"
    changed.write_bytes(changed.read_bytes() + b"# another version\n")
    (folder / "mixproof" / "pipeline" / "cluster" / "task_logs.py").unlink()
    return ROOT / "pipeline"


def another_pyarrow(folder: Path) -> Path:
    """Copy what pip knows of pyarrow into a folder, with another version."""
    installed = Path(str(distribution("pyarrow").locate_file(f"pyarrow-{distribution('pyarrow').version}.dist-info")))
    shutil.copytree(installed, folder)
    metadata = folder / "METADATA"
    metadata.write_text(metadata.read_text().replace(f"\nVersion: {distribution('pyarrow').version}", "\nVersion: 1.0"))
    return installed
