"""Places: a build or a run named by the path or the URL of its folder or record, and the store that it stands in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import RequestError
from .manifest import BUILDS, MANIFEST
from .objects import is_remote
from .store import Store

RUNS = "train"
CHECKPOINTS = "checkpoints"
RECORDS = (MANIFEST, "run.json")
ENTRY = re.compile(rf"(?P<store>.+)/(?P<name>({BUILDS}|{RUNS})/[0-9a-f]{{64}})(/(manifest|run)\.json)?/?")


@dataclass(frozen=True)
class Location:
    """A build or a run in its store."""

    store: Store
    name: str
    """`builds/<id>` or `train/<key>`."""

    @property
    def key(self) -> str:
        """The id of the build, the key of the run."""
        return self.name.partition("/")[2]

    def fetch(self) -> Path:
        """Its folder on this machine; of an object store a copy, without a run's checkpoints.

        Raises:
            RequestError: when an object store has neither a build nor a run there.
        """
        folder = self.store.fetch(self.name, without=CHECKPOINTS)
        if self.store.is_remote and not any((folder / record).is_file() for record in RECORDS):
            raise RequestError(f"{self}: there is neither a build nor a finished run")
        return folder

    def __str__(self) -> str:
        return self.store.location(self.name)


def locate(target: str | Path) -> Location:
    """Find the store of what `target` names: `<store>/<stage>/<key>`, or a file in it.

    Raises:
        RequestError: when a URL does not end as a build's or a run's does, or its store cannot be used.
    """
    text = str(target)
    if is_remote(text):
        match = ENTRY.fullmatch(text)
        if match is None:
            raise RequestError(f"{text}: not the URL of a build or a run: STORE/{BUILDS}/<id> or STORE/{RUNS}/<key>")
        store = Store(match["store"])
        store.check()
        return Location(store, match["name"])
    path = Path(text.removeprefix("file://")).resolve()
    folder = path if path.is_dir() else path.parent
    return Location(Store(folder.parent.parent), f"{folder.parent.name}/{folder.name}")
