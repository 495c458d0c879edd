"""Documents kept by their labels: the rules are those of the spec, and every document is on the right side of them.

From the manifest and its list of dropped documents: the list has as many documents and bytes for each reason as the
ledger, and the labels in the provenance of what stayed meet the rules. `kept_again.py` decides again in a replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixproof.ledger.account import Count
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.kept import KeptRule

from .arithmetic import KEEP
from .cells import Bounds, wholes_of
from .inputs import read_table
from .report import Checks
from .rows import check_parquet

COLUMNS = {
    "file": "string",
    "record": "int64",
    "id": "string",
    "reason": "string",
    "text_xxh128": "string",
    "text_bytes": "int64",
}


@dataclass(frozen=True)
class KeptBounds(Bounds):
    """What a rule demands of the documents that stayed."""

    values: tuple[str, ...] = ()
    keeps_missing: bool = False

    def outside(self, column: pa.Array) -> NDArray[np.bool_]:
        """Which values do not meet the rule."""
        if self.values:
            inside = pc.is_in(column, value_set=pa.array(self.values, pa.string()))
        else:
            numbers = pc.cast(column, pa.float64(), safe=False)
            inside = pc.is_valid(numbers)
            if self.low is not None:
                inside = pc.and_(inside, pc.greater_equal(numbers, self.low))
            if self.high is not None:
                inside = pc.and_(inside, pc.less_equal(numbers, self.high))
        met = pc.if_else(pc.is_null(column), self.keeps_missing, pc.fill_null(inside, False))
        found: NDArray[np.bool_] = met.to_numpy(zero_copy_only=False)
        return ~found


def kept_bounds(manifest: Manifest) -> dict[str, tuple[Bounds, ...]]:
    """What the documents of every source meet, by its name in the manifest."""
    whole_of = {part: name for name, record in manifest.cells.items() for part in record.parts}
    return {
        name: tuple(_bounds(rule) for rule in manifest.kept[whole_of.get(name, name)].rules)
        for name in manifest.sources
        if whole_of.get(name, name) in manifest.kept
    }


def _bounds(rule: KeptRule) -> KeptBounds:
    low, high = (None if bound is None else float(bound) for bound in (rule.low, rule.high))
    return KeptBounds(
        rule.column, "", low, high, is_number=not rule.values, values=rule.values, keeps_missing=rule.keeps_missing
    )


def check_kept(manifest: Manifest, checks: Checks) -> None:
    """Check that the rules of the manifest are those of the spec, for each source that has some."""
    declared = {name: _declared(manifest, part) for name, part in _parts(manifest).items()}
    ruled = sorted(name for name, rules in declared.items() if rules)
    checks.equal("schema", "as sources with rules", ruled, sorted(manifest.kept))
    for name, record in manifest.kept.items():
        rules = declared.get(name, [])
        at = checks.at(source=name, stage=KEEP)
        if at.equal("schema", "rules", len(rules), len(record.rules)):
            for index, (rule, stated) in enumerate(zip(rules, record.rules, strict=True)):
                at.true("schema", _agrees(rule, stated), f"rule {index} of the spec: {rule}", f"{stated}")


def check_dropped(root: Path, manifest: Manifest, checks: Checks) -> None:
    """Check the list of dropped documents of each source against its ledger."""
    for name, record in manifest.kept.items():
        at = checks.at(source=name, stage=KEEP)
        path = check_parquet(root, record.path, record.sha256, at)
        table = None if path is None else read_table(path, COLUMNS, at, nullable=["id"])
        if table is not None:
            row = next((row for row in wholes_of(manifest)[name].ledger if row.stage == KEEP), None)
            at.equal("E2", "dropped by the list", _counts(table), {} if row is None else row.dropped)


def _counts(table: pa.Table) -> dict[str, Count]:
    sums = table.group_by("reason").aggregate([("text_bytes", "count"), ("text_bytes", "sum")]).to_pylist()
    found = {each["reason"]: Count(documents=each["text_bytes_count"], bytes=each["text_bytes_sum"]) for each in sums}
    return dict(sorted(found.items()))


def _parts(manifest: Manifest) -> dict[str, str]:
    """A source of the manifest for each source of the spec: itself, or any of its parts."""
    whole_of = {part: name for name, record in manifest.cells.items() for part in record.parts}
    return {whole_of.get(name, name): name for name in manifest.sources}


def _declared(manifest: Manifest, name: str) -> list[Mapping[str, Any]]:
    sources: Mapping[str, Any] = manifest.spec["sources"]
    return list(sources.get(name, {}).get("keep", []))


def _agrees(declared: Mapping[str, Any], stated: KeptRule) -> bool:
    """Whether a rule is that of the spec; a top share's bound and the values of `min_documents` are the build's."""
    found: dict[str, object] = {
        "column": stated.column,
        "is": [] if "min_documents" in declared else list(stated.values),
        "at_least": None if "top" in declared or stated.low is None else float(stated.low),
        "at_most": None if stated.high is None else float(stated.high),
        "missing": stated.keeps_missing,
    }
    wanted: dict[str, object] = {
        "column": declared.get("label", declared.get("score")),
        "is": list(declared.get("is", [])),
        "at_least": float(Fraction(declared["at_least"])) if "at_least" in declared else None,
        "at_most": float(Fraction(declared["at_most"])) if "at_most" in declared else None,
        "missing": declared.get("missing") == "keep",
    }
    return found == wanted and ("min_documents" in declared) <= bool(stated.values)
