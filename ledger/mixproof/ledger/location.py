"""Locations: a build or run, named by the path or URL of its folder or record, and the store that contains it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.objects.urls import is_remote
from mixproof.ledger.store import Store

from .errors import RequestError
from .manifest import BUILDS, MANIFEST

RUNS = "train"
CHECKPOINTS = "checkpoints"
RECORDS = (MANIFEST, "run.json")
ENTRY = re.compile(rf"(?P<store>.+)/(?P<name>({BUILDS}|{RUNS})/[0-9a-f]{{64}})(/(manifest|run)\.json)?/?")


@dataclass(frozen=True)
class Location:
    """A build or run in its store."""

    store: Store
    name: str
    """`builds/<id>` or `train/<key>`."""

    @property
    def key(self) -> str:
        """The id of the build or the key of the run."""
        return self.name.partition("/")[2]

    def fetch(self) -> Path:
        """Its folder on this machine; for an object store a copy, without a run's checkpoints.

        Raises:
            RequestError: when the object store has neither a build nor a run at this URL.
        """
        folder = self.store.fetch(self.name, without=CHECKPOINTS)
        if self.store.is_remote and not any((folder / record).is_file() for record in RECORDS):
            raise RequestError(f"{self}: neither a build nor a finished run; check the URL")
        return folder

    def __str__(self) -> str:
        return self.store.location(self.name)


def locate(target: str | Path) -> Location:
    """Find the store of `target`: `<store>/<stage>/<key>`, or a file in that folder.

    Raises:
        RequestError: when a folder does not exist, a URL does not end like a build's or run's, or its store cannot be
            used.
    """
    text = str(target)
    if is_remote(text):
        match = ENTRY.fullmatch(text)
        if match is None:
            raise RequestError(
                f"{text}: not the URL of a build or run; expected STORE/{BUILDS}/<id> or STORE/{RUNS}/<key>"
            )
        store = Store(match["store"])
        store.check()
        return Location(store, match["name"])
    path = Path(text.removeprefix("file://")).resolve()
    if not path.is_dir() and path.name not in RECORDS and not path.is_file():
        raise RequestError(f"{text}: no such folder; name the folder of a build or run, or its {' or '.join(RECORDS)}")
    folder = path if path.is_dir() else path.parent
    return Location(Store(folder.parent.parent), f"{folder.parent.name}/{folder.name}")
