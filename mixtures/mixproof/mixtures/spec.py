"""The models of a spec: one YAML file is one experiment.

Frozen pydantic models that reject unknown keys. They hold the normalized form: quantities are integers
(tokens, bytes) or exact fractions (shares), never floats, so that a spec has one fingerprint. `load.py`
reads YAML into them and turns validation errors into errors with file, line and dotted key. YAML shorthands
are in `forms.py` and `mixture_forms.py`, rules between keys in `checks.py`, and the blocks in `blocks/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, PrivateAttr, Tag

from .blocks.dedup import Dedup
from .blocks.external import External
from .blocks.heldout import Decontaminate, HeldoutCreate, HeldoutSpec
from .blocks.labels import CONFIDENCE, FieldLabel, Label, LabelName
from .blocks.mixture import DEFAULT_MAX_EPOCHS, Mixture, Objective, TargetRun
from .blocks.search import Search
from .blocks.source import Limits, OnBadRecord, Source
from .blocks.tokenizer import Tokenizer
from .blocks.train import Train
from .blocks.transform import FillInTheMiddle
from .key_positions import KeyPositions
from .values.spec_part import Name, SpecPart


class Spec(SpecPart):
    """One experiment."""

    schema_: Literal[1]
    """Version of the spec format."""
    name: Name
    """Name of the experiment. Not part of any result."""
    sources: dict[Name, Source] = Field(min_length=1)
    """The corpora, by name."""
    labels: dict[LabelName, Label] = Field(default={})
    """Values added to the documents of every source that has texts, by name."""
    on_bad_record: OnBadRecord = OnBadRecord()
    """How unreadable records are handled."""
    limits: Limits = Limits()
    """Limits on input size."""
    dedup: Dedup | None = None
    """Deduplication. Default: off."""
    heldout: HeldoutSpec = HeldoutSpec(create=HeldoutCreate())
    """The held-out sets on which mixtures are evaluated."""
    decontaminate: Annotated[
        Annotated[Decontaminate, Tag("map")] | Annotated[Literal[False], Tag("false")],
        Discriminator(lambda value: "false" if value is False else "map"),
    ] = Decontaminate()
    """Removal of training documents that overlap with held-out or evaluation texts; `false` turns it off."""
    tokenizer: Tokenizer
    """One tokenizer for all sources."""
    target: TargetRun | None = None
    """The large run, to which epoch caps and `simulate` refer. Default: caps refer to each proxy run."""
    mixtures: dict[Name, Mixture] = Field(min_length=1)
    """The mixtures to compare, by name."""
    train: Train
    """How the proxies are trained."""
    objective: Objective | None = None
    """What `compare` and `search` minimize. Default: the mean of held-out bits per byte over all sources."""
    search: Search | None = None
    """A search for a mixture, which `run` makes after it has trained the declared mixtures. Default: none."""
    external: External | None = None
    """External evaluation sets and tasks, scored on finished runs. Default: none. Execution, not identity."""

    _positions: KeyPositions = PrivateAttr(default_factory=KeyPositions)

    def where(self, *path: str | int) -> str:
        """A key's position for error messages: `spec.yaml:12: sources.code.files`."""
        return self._positions.where(*path)

    @property
    def folder(self) -> Path:
        """Folder of the spec file, where relative paths start."""
        return self._positions.folder

    @property
    def positions(self) -> KeyPositions:
        """File and line of every key of this spec."""
        return self._positions

    def with_positions(self, positions: KeyPositions) -> Self:
        """Set file and line of the keys of this spec, and return the spec."""
        self._positions = positions
        return self

    def fim_of(self, source: str) -> FillInTheMiddle | None:
        """Fill-in-the-middle of a source; a part, such as `english/high`, has that of its source."""
        given = self.sources[source if source in self.sources else source.partition("/")[0]]
        return None if given.transform is None else given.transform.fim

    def labels_of(self, source: str) -> dict[str, Label]:
        """The labels of a source's documents, by name: declared ones, and the fields by which it is split."""
        given = self.sources[source]
        if given.megatron is not None:
            return {}
        labels = {**self.labels, **given.labels}
        for axis in given.axes:
            if axis.clusters is not None:
                labels[axis.column] = Label(clusters=axis.clusters)
            elif axis.column not in _columns_of(labels):
                kind: Literal["text", "number"] = "text" if axis.score is None else "number"
                labels[axis.column] = Label(field=FieldLabel(name=axis.column, type=kind))
        return labels

    @property
    def finds_similar_prompts(self) -> bool:
        """Whether conversations with a prompt like an earlier one are dropped."""
        return self.dedup is not None and self.dedup.fuzzy is not None and self.dedup.on == "prompts"

    def max_epochs(self, source: str) -> Fraction:
        """The largest number of epochs of a source. 2 means seen twice."""
        caps = self.target.max_epochs if self.target is not None else {}
        return caps.get(source, caps.get("default", DEFAULT_MAX_EPOCHS))


def _columns_of(labels: Mapping[str, Label]) -> set[str]:
    """The columns of labels: one each, and one for the confidence of those that have one."""
    return set(labels) | {f"{name}{CONFIDENCE}" for name, label in labels.items() if label.has_confidence}
