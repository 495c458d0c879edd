"""A note for comparisons whose mixtures were trained with different layer backends.

Backends are checked to agree within rounding, so that the backend, like the number of ranks, is not a fact of a run.
But if all runs of one mixture used one backend and all runs of another mixture a different one, as on a cluster with
two types of machines, a difference between the mixtures may come from the machines. Neither seeds nor documents
reveal that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixproof.ledger.manifest import CIRCUMSTANCES
from mixproof.train.model.layer_history import read_layer_history

from .contenders import Contender


def note_on_layers(proxy: str, contenders: Sequence[Contender], folders: Mapping[str, Path]) -> str | None:
    """A warning if mixtures were trained in bfloat16 with different layer backends; None otherwise.

    In float32, on a CPU, backends agree to 1e-5 and need no warning. Runs that state no backend are ignored.
    """
    labels_of: dict[str, list[str]] = {}
    for contender in contenders:
        runs = [run for run in contender.runs.values() if run.dtype == "bfloat16" and run.key in folders]
        if found := sorted({backend for run in runs for backend in _backends_of(folders[run.key])}):
            labels_of.setdefault(", ".join(found), []).append(contender.label)
    if len(labels_of) < 2:
        return None
    backends = "; ".join(f"{', '.join(labels)} with {found}" for found, labels in labels_of.items())
    return (
        f"{proxy}: mixtures were trained with different layer backends, which agree only within rounding: {backends}. "
        "To rule out an effect of the backend, train all mixtures on the same type of machine"
    )


def _backends_of(folder: Path) -> list[str]:
    path = folder / CIRCUMSTANCES
    history = read_layer_history(json.loads(path.read_bytes()).get("layers")) if path.is_file() else None
    return history.backends if history is not None else []
