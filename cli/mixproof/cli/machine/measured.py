"""Rates of this machine, measured by `plan --measure` and kept in the user's cache, by what they depend on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixproof.ledger.fingerprint import sha256_of
from mixproof.ledger.store import publish_bytes
from mixproof.ledger.version import VERSION
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.steps import steps_identity
from mixproof.train.launch.cost import Rate
from mixproof.train.proxies import architecture_of

CACHE_VARIABLE = "XDG_CACHE_HOME"
FILE = "mixproof/measured.json"


@dataclass(frozen=True)
class Measured:
    """The rates of one spec on this machine."""

    documents: Rate | None
    """File bytes per core-second of a build."""
    training: Mapping[str, Rate]
    """Tokens per second of one device, by proxy."""


def cache_path() -> Path:
    """The file that holds the measured rates of this user."""
    folder = os.environ.get(CACHE_VARIABLE) or "~/.cache"
    return Path(folder).expanduser() / FILE


def recall(spec: Spec, vocab_size: int, path: Path) -> Measured | None:
    """The rates that were measured for such a spec on this machine; None if there are none."""
    found = _read(path).get(_key(spec, vocab_size))
    if not isinstance(found, dict):
        return None
    source = f"measured on this machine on {found['date']}"
    documents = found["documents"]
    return Measured(
        None if documents is None else Rate(documents, "core", source),
        {name: Rate(speed, device, source) for name, (speed, device) in found["training"].items()},
    )


def remember(
    spec: Spec, vocab_size: int, documents: float | None, training: Mapping[str, tuple[float, str]], path: Path
) -> None:
    """Keep rates: file bytes per core-second, and by proxy tokens per second and device."""
    entry = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "documents": documents, "training": dict(training)}
    path.parent.mkdir(parents=True, exist_ok=True)
    publish_bytes(json.dumps(_read(path) | {_key(spec, vocab_size): entry}, indent=1).encode(), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # nothing measured yet, or a damaged cache, which is measured again
        return {}
    return found if isinstance(found, dict) else {}


def _key(spec: Spec, vocab_size: int) -> str:
    """What the rates depend on: the machine, the steps and formats of sources, the shapes of proxies."""
    fuzzy = None if spec.dedup is None else spec.dedup.fuzzy
    return sha256_of(
        {
            "mixproof": VERSION,
            "machine": [platform.node(), platform.machine(), os.cpu_count()],
            "sources": {
                name: [source.files, source.megatron, source.format, steps_identity(source.steps)]
                for name, source in spec.sources.items()
            },
            "fuzzy": None if fuzzy is None else fuzzy.model_dump(mode="json"),
            "proxies": {
                name: [architecture_of(name, proxy).model_dump(), str(proxy.cpus)]
                for name, proxy in spec.train.proxies.items()
            },
            "sequence_length": spec.train.sequence_length,
            "vocab_size": vocab_size,
        }
    )
