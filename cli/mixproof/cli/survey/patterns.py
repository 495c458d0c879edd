"""Patterns that match the files of a source and no others.

A pattern is written only where it matches exactly those files; else they are named one by one.
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Sequence

from .listing import Group, ListedFile, Listing


def patterns_of(listing: Listing, group: Group, files: Sequence[ListedFile]) -> tuple[str, ...]:
    """Patterns, relative to the surveyed folder, of some files of a group."""
    suffixes = sorted({file.suffix for file in files})
    if group.folder:
        inside = [file.name for other in listing.groups if other.folder == group.folder for file in other.files]
        inside += [name.what for name in listing.skipped if name.what.startswith(f"{group.folder}/")]
        patterns = [f"{glob.escape(group.folder)}/**/*{glob.escape(suffix)}" for suffix in suffixes]
        matched = [name for name in inside if name.endswith(tuple(suffixes))]
    else:
        inside = [file.name for other in listing.groups if not other.folder for file in other.files]
        patterns = [f"{glob.escape(group.stem)}*{glob.escape(suffix)}" for suffix in suffixes]
        matched = [name for name in inside if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if len(files) > 1 and sorted(matched) == sorted(file.name for file in files):
        return tuple(_not_home(pattern) for pattern in patterns)
    return tuple(_not_home(file.name) for file in files)


def _not_home(pattern: str) -> str:
    """A pattern that starts with a tilde would mean a home folder."""
    return f"./{pattern}" if pattern.startswith("~") else pattern
