"""What the spec can say and this version does not execute: refused by name, never passed over.

Unknown steps are refused where steps are made, in the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import NotBuiltError
from .places import KeyPath
from .spec import Spec


def check_built(spec: Spec) -> None:
    """Refuse what this version does not execute.

    Raises:
        NotBuiltError: naming everything that is not built yet, with its place.

    """
    lines = [
        f"{spec.where(*path)}: {what} is not built yet; take it out of the spec" for path, what in _not_built(spec)
    ]
    if lines:
        raise NotBuiltError("\n".join(lines))


def _not_built(spec: Spec) -> Iterator[tuple[KeyPath, str]]:
    for name, source in spec.sources.items():
        path: KeyPath = ("sources", name)
        if source.split_by is not None:
            yield (*path, "split_by"), "splitting a source by a column"
