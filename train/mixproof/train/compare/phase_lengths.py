"""A note for comparisons whose mixtures were trained at different sequence lengths or rotary bases in their phases.

Phases belong to a mixture, so such mixtures may be ranked: all are scored in windows of the run's sequence length,
which is a fact that must agree. That length says little about what longer windows taught, so the note names it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .contenders import Contender


def notes_on_lengths(proxy: str, contenders: Sequence[Contender]) -> list[str]:
    """A note if some mixture has a phase at its own length or base, and some other does not have the same."""
    found: dict[str, list[str]] = {}
    for contender in contenders:
        record = next(iter(contender.runs.values()))
        own = [
            f"{phase.sequence_length or record.sequence_length:,} at base {phase.rope_base or record.rope_base:,}"
            for phase in record.phases
        ]
        found.setdefault(", then ".join(dict.fromkeys(own)), []).append(contender.label)
    if len(found) < 2:
        return []
    length = next(iter(contenders[0].runs.values())).sequence_length
    lengths = "; ".join(f"{', '.join(labels)}: {own}" for own, labels in found.items())
    return [
        f"{proxy}: mixtures were trained at different sequence lengths or rotary bases ({lengths}). All are scored in "
        f"windows of {length:,} tokens, which does not show what longer windows taught"
    ]
