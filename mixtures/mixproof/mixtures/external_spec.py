"""The part of a spec that names texts and tasks of others, on which finished runs are scored as well."""

from __future__ import annotations

from pydantic import Field

from .spec_part import Name, SpecPart


class ExternalTasks(SpecPart):
    """Tasks of lm-evaluation-harness, from files of one's own."""

    folder: str
    """Task files (YAML) and their data; paths in them are relative to it, and Python that they name is run."""
    names: tuple[str, ...] = Field(min_length=1)
    """Of the tasks, as the files say."""


class External(SpecPart):
    """What finished runs are scored on beside their held-out sets; no part of any build or run."""

    sets: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    """Files by the name of the set: JSON lines or Parquet, a text a record; globs and URLs as of a source."""
    text: str = "text"
    """Field that holds the text."""
    tasks: ExternalTasks | None = None
    """Absent: none."""
