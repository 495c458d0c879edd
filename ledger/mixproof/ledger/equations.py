"""The ten equations of the account, in words: what must be equal, and where.

The code that checks one names it by its number (`E5`), in errors and in audits. `docs/reference/equations.md` is made
from this list.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Equation:
    """One equation."""

    name: str
    where: str
    statement: str
    note: str
    """What it rules out."""


EQUATIONS = (
    Equation(
        "E1",
        "reading",
        "records = documents + rejected records, by reason",
        "A line that is no JSON, a record without text or a document that kills its process is counted, never skipped.",
    ),
    Equation(
        "E2",
        "every step and stage",
        "documents in = documents out + dropped, by reason; "
        "bytes in + bytes added = bytes out + bytes dropped + bytes removed",
        "A filter that loses documents without a reason, or a formatter that cuts text unseen.",
    ),
    Equation(
        "E3",
        "every boundary between stages",
        "documents and bytes out of a stage = documents and bytes into the next, by source and shard",
        "A shard whose receipt is missing, or one that is counted twice.",
    ),
    Equation(
        "E4",
        "the split",
        "documents = training documents + held-out documents",
        "A document on both sides, or on none.",
    ),
    Equation(
        "E5",
        "encoding",
        "documents in = documents encoded + documents without a token; tokens = content tokens + EODs; "
        "EODs = documents encoded; sum of lengths = bytes of the .bin / bytes of an id; largest id < vocabulary size",
        "A truncated .bin, an id that does not fit its type, a document without an end.",
    ),
    Equation(
        "E6",
        "datasets and draws",
        "sum of parts = dataset; draw + what was not drawn = dataset",
        "A part that is missing or swapped.",
    ),
    Equation(
        "E7",
        "streams",
        "per pass over T tokens at sequence length S: T = 1 + W x S + rest, with W = floor((T - 1) / S) windows; "
        "targets = W x S - masked targets",
        "Tokens that a pass leaves out without saying so.",
    ),
    Equation(
        "E8",
        "blends",
        "sum over sources of the samples of a phase = samples of the phase; sum of the phases = samples of the run",
        "A source that rounding makes larger or drops.",
    ),
    Equation(
        "E9",
        "training",
        "consumed samples of the checkpoint = sum over sources, replayed from the blend; "
        "consumed tokens = consumed samples x S",
        "A run that stopped early, or read other samples than its blend says.",
    ),
    Equation(
        "E10",
        "evaluation",
        "scored targets = held-out tokens, each once",
        "Windows that overlap, and tokens that no window holds.",
    ),
)
