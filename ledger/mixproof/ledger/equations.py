"""The ten equations of the account in words: what must be equal, and where.

Code that checks an equation names it by its number (`E5`), in errors and in audits. `docs/reference/equations.md` is
generated from this list.
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
    """The failure that the equation rules out."""


EQUATIONS = (
    Equation(
        "E1",
        "reading",
        "records = documents + rejected records, by reason",
        "A line that is not JSON, a record without text or a document that crashes its process: counted, not skipped.",
    ),
    Equation(
        "E2",
        "every step and stage",
        "documents in = documents out + dropped, by reason; "
        "bytes in + bytes added = bytes out + bytes dropped + bytes removed",
        "A filter that drops documents without a reason, or a formatter that removes text silently.",
    ),
    Equation(
        "E3",
        "every boundary between stages",
        "documents and bytes out of a stage = documents and bytes into the next, by source and shard",
        "A shard that is missing or counted twice.",
    ),
    Equation(
        "E4",
        "the split",
        "documents = training documents + held-out documents",
        "A document on both sides, or on neither.",
    ),
    Equation(
        "E5",
        "encoding",
        "documents in = documents encoded + documents without a token; tokens = content tokens + EODs; "
        "EODs = documents encoded; sum of lengths = bytes of the .bin / bytes of an id; largest id < vocabulary size",
        "A truncated .bin, an id that does not fit its dtype, a document without an EOD.",
    ),
    Equation(
        "E6",
        "datasets and draws",
        "sum of parts = dataset; drawn + not drawn = dataset",
        "A missing or swapped part.",
    ),
    Equation(
        "E7",
        "streams",
        "per pass over T tokens at sequence length S: T = 1 + W x S + remainder, with W = floor((T - 1) / S) windows; "
        "packed by best fit: W x S = T - left out + padding, where only conversations leave tokens out; "
        "targets = positions - padding - masked targets; after pretraining targets = supervised tokens of the mask",
        "Tokens that a pass skips silently.",
    ),
    Equation(
        "E8",
        "blends",
        "sum over sources of the samples of a phase = samples of the phase; sum of the phases = samples of the run",
        "A source that rounding enlarges or drops.",
    ),
    Equation(
        "E9",
        "training",
        "consumed samples of the checkpoint = sum over sources, replayed from the blend; "
        "consumed tokens = consumed samples x S; after pretraining, by source, consumed tokens = supervised + context "
        "+ padding, and all of these = planned",
        "A run that stopped early, or read samples other than those of its blend.",
    ),
    Equation(
        "E10",
        "evaluation",
        "scored targets = held-out tokens, each once; after pretraining = their supervised tokens, each once",
        "Overlapping windows, and tokens outside every window.",
    ),
)
