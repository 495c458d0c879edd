"""The block `search.fixed` of a spec, resolved to the sources of its build."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from mixproof.mixtures.blocks.search import FixedPart
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import nearest
from mixproof.mixtures.search.pins import Pins
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import parts_of

ONE = Fraction(1)


def pins_of(spec: Spec, declared: Mapping[str, FixedPart], tokens_of: Mapping[str, int]) -> Pins | None:
    """Resolve what a search keeps fixed; None if it keeps nothing fixed.

    A split source stands for those of its parts that are not named, in proportion to their tokens, as in a mixture.

    Args:
        spec: with the parts of split sources.
        declared: `search.fixed`.
        tokens_of: training tokens of every source.

    Raises:
        SpecError: when a name is not a source of the build, or one has two entries.
    """
    if not declared:
        return None
    fixed: dict[str, Fraction] = {}
    members: dict[str, dict[str, Fraction]] = {}
    for name, part in declared.items():
        own = _resolved(spec, name, declared, tokens_of)
        for source in own:
            if source in fixed or any(source in others for others in members.values()):
                raise SpecError(f"{spec.where('search', 'fixed', name)}: {source} has two entries; remove one")
        if part.share is not None:
            fixed |= {source: part.share * fraction for source, fraction in own.items()}
            continue
        members[name] = {source: fraction for source, fraction in own.items() if fraction}
        fixed |= {source: fraction for source, fraction in own.items() if not fraction}
    grouped = {source for sources in members.values() for source in sources}
    members |= {source: {source: ONE} for source in tokens_of if source not in fixed and source not in grouped}
    return Pins(fixed, dict(sorted(members.items())))


def _resolved(
    spec: Spec, group: str, declared: Mapping[str, FixedPart], tokens_of: Mapping[str, int]
) -> dict[str, Fraction]:
    """The fraction of each source in a group."""
    named = {source for part in declared.values() for source in part.of}
    found: dict[str, Fraction] = {}
    for member, fraction in declared[group].of.items():
        tokens = {member: 1}
        if member not in tokens_of:
            tokens = {part: tokens_of.get(part, 0) for part in parts_of(spec, member) if part not in named}
        total = sum(tokens.values())
        if not total:
            where = spec.where("search", "fixed", group, "of", member)
            raise SpecError(f"{where}: the build has no text of {member!r}; {nearest(member, tokens_of)}")
        found |= {source: fraction * count / total for source, count in tokens.items()}
    return found
