"""Kinds of layers that runs were trained through, and what a comparison should say of them.

Kinds agree to rounding, by proof, and are no fact of a run, like its number of ranks. But where all runs of one mixture
rounded in one way and those of another in another, as on clusters of two kinds of machines, a difference between the
mixtures may be one between the machines, and neither seeds nor documents show it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixproof.ledger.manifest import CIRCUMSTANCES
from mixproof.train.model.layer_history import kinds_of

from .contenders import Contender


def note_on_layers(proxy: str, contenders: Sequence[Contender], folders: Mapping[str, Path]) -> str | None:
    """What to say where mixtures that computed in bfloat16 were trained through different kinds of layers.

    In float32, on a CPU, kinds agree to 1e-5 and nothing is said; nor of runs that do not state a kind.
    """
    kinds: dict[str, list[str]] = {}
    for contender in contenders:
        runs = [run for run in contender.runs.values() if run.dtype == "bfloat16" and run.key in folders]
        if found := sorted({kind for run in runs for kind in _stated(folders[run.key])}):
            kinds.setdefault(", ".join(found), []).append(contender.label)
    if len(kinds) < 2:
        return None
    through = "; ".join(f"{', '.join(labels)} through {found}" for found, labels in kinds.items())
    return (
        f"{proxy}: mixtures were trained through different kinds of layers, which agree to rounding alone: {through}. "
        "Train them on machines of one kind to keep that out of the difference"
    )


def _stated(folder: Path) -> list[str]:
    path = folder / CIRCUMSTANCES
    stated = json.loads(path.read_bytes()).get("layers") if path.is_file() else None
    return kinds_of(stated) if stated else []
