"""The `external` block of a spec: external evaluation sets and tasks on which finished runs are also scored."""

from __future__ import annotations

from pydantic import Field

from mixproof.mixtures.values.spec_part import Name, SpecPart


class ExternalTasks(SpecPart):
    """Tasks of lm-evaluation-harness, defined by local files."""

    folder: str
    """Folder of task files (YAML) and their data. Paths in them are relative to it. Python they name runs."""
    names: tuple[str, ...] = Field(min_length=1)
    """Names of the tasks, as in the task files."""


class External(SpecPart):
    """What finished runs are scored on besides their held-out sets. Not part of any build or run."""

    sets: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    """Files by name of the set: JSON Lines or Parquet, one text per record; globs and URLs as in a source's `files`."""
    text: str = "text"
    """Field that holds the text."""
    questions: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    """Files of own questions, by name: JSON Lines or Parquet. A record has `question`, `choices` (texts) and `answer`
    (an index from 0, or one of the texts), or `question` and `answer` (text) alone."""
    tasks: ExternalTasks | None = None
    """lm-evaluation-harness tasks. Default: none."""
