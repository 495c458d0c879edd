"""Rules by which a source keeps documents, with exact bounds: which documents fail one, and for what reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixproof.ledger.records.kept import KeptRule
from mixproof.pipeline.columns import array_of

KEPT = -1


@dataclass(frozen=True)
class Rule:
    """One rule whose bounds are known; a category has `values`, a number at least one bound."""

    column: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    """A number stays if it is at least `low` and at most `high`."""
    keeps_missing: bool = False

    @property
    def reasons(self) -> dict[str, str]:
        """The ledger's reason for each way to fail."""
        ways = ("other",) if self.values else ("below", "above")
        return {way: f"{self.column}_{way}" for way in (*ways, "missing")}

    def failures(self, column: Any) -> dict[str, NDArray[np.bool_]]:  # noqa: ANN401 - pyarrow ships no types
        """Which rows fail, by reason: bool [rows]."""
        is_null = _flags_of(pc.is_null(column))
        found = {} if self.keeps_missing else {self.reasons["missing"]: is_null}
        if self.values:
            inside = _flags_of(pc.is_in(column, value_set=pa.array(self.values, pa.string())))
            return {**found, self.reasons["other"]: ~inside & ~is_null}
        numbers = array_of(pc.fill_null(pc.cast(column, pa.float64(), safe=False), 0.0))
        if self.low is not None:
            found[self.reasons["below"]] = (numbers < self.low) & ~is_null
        if self.high is not None:
            found[self.reasons["above"]] = (numbers > self.high) & ~is_null
        return found

    def stated(self) -> KeptRule:
        """The rule as a manifest states it."""
        return KeptRule(
            column=self.column,
            values=self.values,
            low=None if self.low is None else repr(self.low),
            high=None if self.high is None else repr(self.high),
            keeps_missing=self.keeps_missing,
        )


def rule_of(stated: KeptRule) -> Rule:
    """The rule that a manifest states."""
    low, high = (None if bound is None else float(bound) for bound in (stated.low, stated.high))
    return Rule(stated.column, stated.values, low, high, stated.keeps_missing)


def reasons_of(rules: Sequence[Rule]) -> tuple[str, ...]:
    """All reasons of some rules, each once."""
    return tuple(dict.fromkeys(reason for rule in rules for reason in rule.reasons.values()))


def decide(rules: Sequence[Rule], columns: Mapping[str, Any], rows: int) -> NDArray[np.int64]:
    """The reason for which each row is dropped: an index into `reasons_of(rules)` by the first rule that it fails.

    Returns:
        int64 [rows]; KEPT where the row meets all rules.
    """
    number_of = {reason: number for number, reason in enumerate(reasons_of(rules))}
    found = np.full(rows, KEPT, np.int64)
    for rule in rules:
        for reason, fails in rule.failures(columns[rule.column]).items():
            found[fails & (found == KEPT)] = number_of[reason]
    return found


def _flags_of(column: Any) -> NDArray[np.bool_]:  # noqa: ANN401 - pyarrow ships no types
    return array_of(pc.cast(column, pa.uint8())).astype(np.bool_)
