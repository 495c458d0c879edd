"""Copies: local copies of the objects of a store, for tools that map files into memory.

Each object that is read is first copied to this machine, with the tag (ETag) it had: the copy is used as long as the
object keeps that tag. Only a copy that its output's receipt confirms is used without a request for TRUSTED_SECONDS,
because an output's content never changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from mixproof.ledger.files import Found, inside, leads_out, publish, publish_bytes, scratch_beside

from .objects import Objects

LOGGER = logging.getLogger(__name__)
TAGS = ".tags"
TRUSTED_SECONDS = 600.0
"""How long a copy that its receipt confirms is used without asking whether the object is still there."""
CONFIRMED = "confirmed by its receipt"
"""Second line of the tag of such a copy."""


class Copies:
    """Copies of the objects below a URL in a local folder, under the same names. Cheap to create and to pickle."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        self.objects = objects
        self._folder = folder

    def fetch(self, prefix: str, *, without: str | None = None) -> dict[str, Found]:
        """Update the copies of everything that `find` finds, and remove copies of deleted objects.

        Args:
            prefix: as for `find`.
            without: objects whose names start with this are left out.

        Returns:
            The objects there are now; their copies have the same names in the folder of copies.
        """
        found = self.objects.find(prefix)
        for name, one in found.items():
            if without is None or not name.startswith(without):
                self.update(name, one)
        self.remove_stale(prefix, found)
        return found

    def update(self, name: str, found: Found) -> bool:
        """Copy an object unless its copy is current; return whether it was copied."""
        if self.is_current(name, found):
            return False
        try:
            self._download(name, found)
        except FileNotFoundError:  # removed since it was listed
            self.remove(name)
            return False
        return True

    def remove_stale(self, prefix: str, found: Collection[str]) -> None:
        """Remove the copies below `prefix` whose objects are not in `found`, the objects there are now."""
        for stale in self._below(prefix) - set(found):
            self.remove(stale)

    def remove(self, name: str) -> None:
        """Remove the copy of an object; a local file that is not a copy stays.

        Receipts and listings of another team may have names that lead out of the folder. Those have no copies.
        """
        if not leads_out(name) and (tag := self._tag(name)).is_file():
            self._copy(name).unlink(missing_ok=True)
            tag.unlink(missing_ok=True)

    def upload(self, name: str, *, confirmed: bool = False) -> None:
        """Upload the local file `name`; `confirmed`: it is one of an output's, and its receipt follows."""
        tag = self.objects.upload(self._copy(name), name)
        self._write_tag(name, tag, confirmed=confirmed)

    def remove_objects(self, names: Sequence[str]) -> None:
        """Remove objects and their copies, in no particular order; missing ones are ignored."""
        for name in names:
            self.remove(name)
        self.objects.remove(names)

    def is_current(self, name: str, found: Found) -> bool:
        """Whether the local file `name` equals the object: same tag and size, not modified since the transfer."""
        copy, tag = self._copy(name), self._tag(name)
        try:
            if tag.read_text().partition("\n")[0] != found.tag:
                return False
            copy_status, tag_status = copy.stat(), tag.stat()
        except FileNotFoundError:
            return False
        return copy_status.st_size == found.bytes and copy_status.st_mtime_ns <= tag_status.st_mtime_ns

    def is_trusted(self, name: str) -> bool:
        """Whether the local file `name` was confirmed by its receipt not long ago, and not modified since."""
        copy, tag = self._copy(name), self._tag(name)
        try:
            if tag.read_text().partition("\n")[2] != CONFIRMED:
                return False
            confirmed, copied = tag.stat().st_mtime_ns, copy.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        return copied <= confirmed and 0 <= time.time() - confirmed / 1e9 < TRUSTED_SECONDS

    def confirm(self, name: str) -> None:
        """Note that the copy `name`, which is current, is what its receipt records."""
        tag = self._tag(name).read_text().partition("\n")[0]
        self._write_tag(name, tag, confirmed=True)

    def _download(self, name: str, found: Found) -> None:
        target = self._copy(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch_beside(target)
        LOGGER.debug("copying %s/%s (%d bytes) to %s", self.objects.url, name, found.bytes, target)
        self.objects.download(name, found, scratch)
        publish(scratch, target)
        self._write_tag(name, found.tag)

    def _write_tag(self, name: str, tag: str, *, confirmed: bool = False) -> None:
        text = f"{tag}\n{CONFIRMED}" if confirmed else tag
        publish_bytes(text.encode(), self._tag(name))

    def _copy(self, name: str) -> Path:
        """The path of an object's copy.

        Raises:
            DamagedFileError: when the name leads out of the folder; so for `_tag`.
        """
        return inside(self._folder, name)

    def _tag(self, name: str) -> Path:
        """The path of the file with the tag of an object's copy."""
        return inside(self._folder / TAGS, name)

    def _below(self, prefix: str) -> set[str]:
        """Names of the copies whose objects are, or were, found by this prefix."""
        tags = self._folder / TAGS
        start = tags / prefix
        paths = [path for path in start.rglob("*") if path.is_file()] if start.is_dir() else [start]
        paths += start.parent.glob(f"{start.name}.*")
        return {path.relative_to(tags).as_posix() for path in paths if path.is_file()}
