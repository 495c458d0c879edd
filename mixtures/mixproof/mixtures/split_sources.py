"""Sources split by a column: each value of the column makes a source of its own, as `english/high`.

Which values there are shows only in the files, so a spec has two forms: as it is written, with `english`, and with
its parts in the place of `english`. Reading the files gives the values, and everything behind works with the second
form alone, in which a part is a source like any other. Names of parts become parts of file names, so whatever of
a value is no letter, digit, dot, dash or underscore is percent-encoded: `CC BY` makes `english/CC%20BY`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any
from urllib.parse import quote, unquote

from .checks import named_sources
from .key_positions import KeyPath, KeyPositions, Problem, nearest
from .spec import Mixture, ShareSpec, Source, Spec

MOST_PARTS = 1000
"""Parts of a source: more values are no kinds of text but ids."""
MOST_CHARS = 150
"""Of a part's name behind the `/`: with its ending it must be the name of a file."""
ANY = "unread"
"""Stands for the values of a column that nobody has read yet."""


class SplitSource(Source):
    """The records of a source that have one value in the column that it is split by."""

    of: str
    """The source as the spec names it."""
    value: str
    """Of the column, as text; `unread` where it is not known yet."""


def part_name(source: str, value: str) -> str:
    """Name the part of a source that has a value."""
    encoded = quote(value, safe="")
    return f"{source}/%2E{encoded[1:]}" if encoded.startswith(".") else f"{source}/{encoded}"


def split_sources(spec: Spec) -> dict[str, str]:
    """Return the column of every source of a spec, as it is written, that is split by one."""
    return {
        name: source.split_by
        for name, source in spec.sources.items()
        if source.split_by is not None and not isinstance(source, SplitSource)
    }


def with_parts(spec: Spec, values_of: Mapping[str, Sequence[str]]) -> Spec:
    """Put the parts of split sources into their place, everywhere that the spec names them.

    In `dedup` a split source stands for all its parts by name, a cap on its epochs and a
    multiplier on a rule go to each part, its weight in the objective to all parts alike: always to those parts that
    are not named beside it. Its share in a mixture follows the parts' tokens, so it stays as it is (`shares.py`).

    Args:
        spec: as it is written.
        values_of: what is in the column, by the name of the split source.

    Raises:
        SpecError: when a column has no value, too many, or one too long for a name; or when the spec names a part that
            is not there.
    """
    if not values_of:
        return spec
    places = _Names(spec, values_of)
    sources: dict[str, Source] = {}
    for name, source in spec.sources.items():
        if name not in values_of:
            sources[name] = source
        for part, value in places.parts_of.get(name, {}).items():
            sources[part] = SplitSource(**dict(source), of=name, value=value)
    update: dict[str, Any] = {
        "sources": sources,
        "mixtures": {name: _mixture(mixture, places) for name, mixture in spec.mixtures.items()},
    }
    if spec.dedup is not None:
        scope = spec.dedup.scope
        if isinstance(scope, dict):
            scope = {group: places.listed(members) for group, members in scope.items()}
        paragraphs = spec.dedup.paragraphs
        if paragraphs is not None and paragraphs.sources is not None:
            paragraphs = paragraphs.model_copy(update={"sources": places.listed(paragraphs.sources)})
        update["dedup"] = spec.dedup.model_copy(
            update={"keep": places.listed(spec.dedup.keep), "scope": scope, "paragraphs": paragraphs}
        )
    if spec.target is not None:
        update["target"] = spec.target.model_copy(update={"max_epochs": places.mapped(spec.target.max_epochs)})
    if spec.objective is not None:
        weights = places.mapped(spec.objective.heldout_bpb, alike=True)
        for name in spec.objective.heldout_bpb.keys() & places.parts_of.keys():
            if not weights.keys() & places.parts_of[name].keys() - spec.objective.heldout_bpb.keys():
                path = ("objective", "heldout_bpb", name)
                raise spec.positions.error(
                    [Problem(path, f"every part of {name} has a weight of its own; take it out")]
                )
        update["objective"] = spec.objective.model_copy(update={"heldout_bpb": weights})
    return spec.model_copy(update=update).with_positions(_positions(spec.positions, places.parts_of))


def parts_of(spec: Spec, source: str) -> list[str]:
    """Names of the parts of a split source."""
    return [name for name, part in spec.sources.items() if isinstance(part, SplitSource) and part.of == source]


def with_named_parts(spec: Spec) -> Spec:
    """Put in those parts of split sources that the spec itself names, or one for all: for estimates before a build."""
    values_of = {}
    for source in split_sources(spec):
        named = {name for _, name in _every_name(spec) if name.startswith(f"{source}/")}
        values_of[source] = sorted(unquote(name.partition("/")[2]) for name in named) or [ANY]
    return with_parts(spec, values_of)


def stated_values(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the values of each split source's parts as the identity of a build states them."""
    values_of: dict[str, list[str]] = {}
    for name, source in sources.items():
        if "split_value" in source:
            values_of.setdefault(name.partition("/")[0], []).append(source["split_value"])
    return values_of


class _Names:
    """Split sources and their parts."""

    def __init__(self, spec: Spec, values_of: Mapping[str, Sequence[str]]) -> None:
        self.parts_of: dict[str, dict[str, str]] = {}
        """By split source: the value of each part, in order of the parts' names."""
        problems: list[Problem] = []
        for source, values in values_of.items():
            problems += _faults(("sources", source, "split_by"), str(spec.sources[source].split_by), values)
            self.parts_of[source] = dict(sorted((part_name(source, value), value) for value in values))
        for path, name in _every_name(spec):
            source = name.partition("/")[0]
            parts = self.parts_of.get(source)
            if parts is not None and name != source and name not in parts:
                problems.append(Problem(path, f"{source} has no part {name!r}; {nearest(name, parts)}"))
        if problems:
            raise spec.positions.error(problems)

    def listed(self, names: Sequence[str]) -> tuple[str, ...]:
        """Put all parts that a list does not name itself in the place of their source."""
        found: list[str] = []
        for name in names:
            found += [part for part in self.parts_of[name] if part not in names] if name in self.parts_of else [name]
        return tuple(found)

    def mapped(self, by_name: Mapping[str, Fraction], *, alike: bool = False) -> dict[str, Fraction]:
        """Give what a split source has to each part that has nothing of its own; `alike`: dealt out among them."""
        result = {name: value for name, value in by_name.items() if name not in self.parts_of}
        for source, parts in self.parts_of.items():
            others = [part for part in parts if part not in by_name] if source in by_name else []
            result.update({part: by_name[source] / (len(others) if alike else 1) for part in others})
        return result


def _faults(path: KeyPath, column: str, values: Sequence[str]) -> Iterator[Problem]:
    if not values:
        yield Problem(path, f"no record that holds a text has a value in the column {column!r}")
    if len(values) > MOST_PARTS:
        shown = ", ".join(repr(value) for value in values[:3])
        message = (
            f"the column {column!r} has more than {MOST_PARTS:,} values ({shown}, ...), and so many parts no source"
        )
        yield Problem(path, f"{message}; split by a column that tells kinds of text apart")
    for value in values:
        if len(part_name("", value)) - 1 > MOST_CHARS:
            message = f"the column {column!r} has a value too long for a name: {value[:60]!r}..."
            yield Problem(path, f"{message}; at most {MOST_CHARS} characters, percent-encoded")
            return


def _every_name(spec: Spec) -> Iterator[tuple[KeyPath, str]]:
    """Every place that names a source."""
    yield from named_sources(spec)
    for mixture, declared in spec.mixtures.items():
        path: KeyPath = ("mixtures", mixture)
        yield from _of_blend(declared, path)
        for index, phase in enumerate(declared.phases):
            yield from _of_blend(phase, (*path, "phases", index))


def _of_blend(blend: ShareSpec, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for key, names in (("shares", blend.shares or {}), ("times", blend.times)):
        for name in names:
            yield (*path, key, name), name


def _mixture(mixture: Mixture, names: _Names) -> Mixture:
    phases = tuple(phase.model_copy(update={"times": names.mapped(phase.times)}) for phase in mixture.phases)
    return mixture.model_copy(update={"times": names.mapped(mixture.times), "phases": phases})


def _positions(positions: KeyPositions, parts_of: Mapping[str, Mapping[str, str]]) -> KeyPositions:
    """Let the keys of a part stand where those of its source do."""
    found = dict(positions.by_path)
    for path, position in positions.by_path.items():
        if path[:1] == ("sources",) and len(path) > 1:
            found.update({("sources", part, *path[2:]): position for part in parts_of.get(str(path[1]), ())})
    return KeyPositions(found)
