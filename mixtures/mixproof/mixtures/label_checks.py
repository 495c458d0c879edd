"""Rules of `keep`: its labels exist, and are of the kind that a rule needs."""

from __future__ import annotations

from collections.abc import Iterator

from .blocks.keep import KeepRule
from .blocks.labels import CONFIDENCE, Label
from .key_positions import KeyPath, Problem, nearest
from .spec import Spec


def keep_problems(spec: Spec) -> Iterator[Problem]:
    """Return all violations of the rules of `keep`."""
    for name, source in spec.sources.items():
        labels = {**spec.labels, **source.labels} if source.megatron is None else {}
        for index, rule in enumerate(source.keep or ()):
            yield from _rule(rule, labels, ("sources", name, "keep", index))


def _rule(rule: KeepRule, labels: dict[str, Label], path: KeyPath) -> Iterator[Problem]:
    at, column = (*path, "score" if rule.label is None else "label"), rule.column
    numbers = {name for name, label in labels.items() if label.is_number}
    numbers |= {f"{name}{CONFIDENCE}" for name, label in labels.items() if label.has_confidence}
    label = labels.get(column)
    if label is None and column not in numbers:
        message = f"there is no label {column!r}; {nearest(column, labels)}, or declare it in `labels`"
        yield Problem(at, message)
    elif label is not None and label.clusters is not None:
        message = f"the clusters {column!r} are found on the documents that `keep` leaves; use `prune` of the clusters"
        yield Problem(at, message)
    elif rule.label is not None and column in numbers:
        yield Problem(at, f"{column!r} is a number; write {{score: {column}, at_least: ...}}")
    elif rule.score is not None and column not in numbers:
        yield Problem(at, f"{column!r} is not a number; write {{label: {column}, is: [...]}}")
