"""The spec inside a manifest, checked against the rest of the manifest: what was declared is what was done.

Only the parts of the spec that the auditor needs are parsed here: the sources and their steps, whether there is
deduplication and decontamination, and the checksums that replace paths.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from mixproof.ledger.manifest import Manifest

from .arithmetic import DEDUP, ENCODE, KEEP, PARAGRAPHS, READ, SEMANTIC, SPLIT, SUBSTRINGS
from .cells import CELLS
from .report import Checks

DECONTAMINATE = "decontaminate"
CONVERSATIONS = ("chat", "preferences", "ratings")


class _Step(BaseModel):
    name: str
    options: dict[str, Any] = {}

    @property
    def stage(self) -> str:
        """The name of the step's ledger row; for a datatrove class, the name of the class."""
        return str(self.options.get("class", self.name))


class _Source(BaseModel):
    inputs: str
    steps: tuple[_Step, ...] = ()
    format: str | None = None
    megatron: bool = False
    """The source is a tokenized dataset: it has no texts, so `read` is its only stage and nothing is held out."""
    keep: list[Any] = []
    """Rules by which documents are kept after deduplication."""
    split_by: str | list[Any] | None = None
    """A list: the source is a cell of a division that was made after deduplication."""


class _Heldout(BaseModel):
    from_: dict[str, str] | None = Field(None, alias="from")


class _Tokenizer(BaseModel):
    sha256: str | None = None


class _Spec(BaseModel):
    sources: dict[str, _Source]
    dedup: dict[str, Any] | None = None
    heldout: _Heldout
    decontaminate: dict[str, Any] | bool
    tokenizer: _Tokenizer

    def stages(self, source: str) -> list[str]:
        """Names of a source's ledger rows, in order; a repeated step gets a number (`length#2`)."""
        if self.sources[source].megatron:
            return [READ]
        steps: list[str] = []
        for step in self.sources[source].steps:
            earlier = sum(other.partition("#")[0] == step.stage for other in steps)
            steps.append(f"{step.stage}#{earlier + 1}" if earlier else step.stage)
        rules = self.dedup or {}
        dedup = [DEDUP] if rules.get("exact") or rules.get("fuzzy") else []
        dedup += [stage for stage in (SEMANTIC, PARAGRAPHS, SUBSTRINGS) if rules.get(stage)]
        dedup += [KEEP] if self.sources[source].keep else []
        dedup += [CELLS] if isinstance(self.sources[source].split_by, list) else []
        clean = [DECONTAMINATE] if self.decontaminate is not False else []
        return [READ, *steps, *dedup, *clean, SPLIT, ENCODE]


def check_spec(manifest: Manifest, checks: Checks) -> None:
    """Check that sources, stages, inputs, tokenizer and imported held-out sets are those of the spec."""
    try:
        spec = _Spec.model_validate(manifest.spec)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("spec", *first["loc"]))
        checks.true("schema", False, "the identity part of a spec", f"{where}: {first['msg']}")
        return
    if not checks.equal("schema", "as sources", sorted(spec.sources), sorted(manifest.sources)):
        return
    imported = spec.heldout.from_ or {}
    for name, source in manifest.sources.items():
        at = checks.at(source=name)
        at.equal("E3", "as stages", spec.stages(name), [row.stage for row in source.ledger])
        form = spec.sources[name].format
        at.equal("schema", "as the kind of records", form if form in CONVERSATIONS else None, source.kind)
        at.equal("checksum", "as the spec's inputs", spec.sources[name].inputs, source.inputs.sha256)
        texts = source.heldout.texts.sha256 if source.heldout.texts is not None else None
        if spec.heldout.from_ is not None:
            at.equal("checksum", "as the spec's held-out texts", imported.get(name), texts)
        imports = spec.heldout.from_ is not None and not spec.sources[name].megatron
        at.equal("schema", "as an imported set", imports, source.heldout.imported_from is not None)
    if spec.tokenizer.sha256 is not None:
        checks.equal("checksum", "as the spec's tokenizer", spec.tokenizer.sha256, manifest.tokenizer.sha256)
