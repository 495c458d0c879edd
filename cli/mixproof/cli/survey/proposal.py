"""A first experiment on some sources, scaled to the text that they hold.

The numbers are a start that works: every source can give its held-out set, no mixture repeats a source more than the
caps allow, every share is at least two windows, the tokenizer's vocabulary has text enough, and a run takes minutes on
a CPU. All are written into the spec with their reasons, to be changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mixproof.mixtures.stage_checks import STAGE_KINDS

from .listing import Skipped
from .sources import FoundSource

USUAL_TOKENS = 200_000
"""Of a proxy run: about two minutes of the proxy `nano` on one CPU core."""
MOST_TOKENS = 1_000_000
"""Of a run that a small source makes longer."""
BATCH = 8
LONG_TEXT_TOKENS = 50_000_000
"""From here on windows are of 512 tokens instead of 256."""
CONVERSATION_TOKENS = 1024
"""Of a window if there are conversations, which are not cut and share it with others."""
LEAST_WINDOWS = 2
"""Of the smallest share in a run."""
EPOCHS = 3
"""Of the smallest source at most, under a cap of 4: the estimate may be too high."""
HELDOUT_PART = 20
"""At most one in this many documents of a source counts towards the minimum of its held-out set."""
MOST_HELDOUT = 50
BYTES_PER_PIECE = 1000
"""Text for each piece of a vocabulary."""
VOCABULARIES = (512, 1000, 2000, 4000, 8000, 16000, 32000)
MOST_TOKENIZER_BYTES = 50_000_000


@dataclass(frozen=True)
class Proposal:
    """What the spec will say."""

    sources: tuple[FoundSource, ...]
    left_out: tuple[Skipped, ...]
    """Sources that are too small beside the others."""
    min_documents: int
    vocab_size: int
    tokenizer_bytes: int
    sequence_length: int
    run_tokens: int
    seeds: tuple[int, ...] = (1, 2, 3)

    @property
    def stage(self) -> str:
        """The stage for which there are sources: text is for pretraining, conversations alone for a later stage."""
        kinds = {source.fields.kind for source in self.sources}
        if None in kinds:
            return "pretrain"
        return "sft" if "chat" in kinds else "reward" if len(kinds) == 1 else "pretrain"

    @property
    def trained(self) -> list[str]:
        """Names of the sources that the stage trains on."""
        kinds = STAGE_KINDS.get(self.stage)
        return [source.name for source in self.sources if kinds is None or source.fields.kind in kinds]

    @property
    def tokens(self) -> int:
        """Of all sources, an estimate."""
        return sum(source.tokens for source in self.sources)


def propose(sources: Sequence[FoundSource]) -> Proposal:
    """Scale an experiment to some sources; at least one."""
    length = 512 if sum(source.tokens for source in sources) >= LONG_TEXT_TOKENS else 256
    if any(source.fields.kind is not None for source in sources):
        length = CONVERSATION_TOKENS
    kept, left_out = _large_enough(sources, length)
    smallest, total = min(source.tokens for source in kept), sum(source.tokens for source in kept)
    needed = LEAST_WINDOWS * length * total / smallest
    can_give = min(len(kept) * EPOCHS * smallest, EPOCHS * total)
    step = BATCH * length
    tokens = max(min(USUAL_TOKENS, can_give), needed, step)
    documents = [source.documents for source in kept if source.documents is not None]
    text_bytes = sum(source.text_bytes for source in kept)
    fitting = [size for size in VOCABULARIES if size * BYTES_PER_PIECE <= text_bytes]
    return Proposal(
        sources=tuple(kept),
        left_out=tuple(left_out),
        min_documents=max(1, min(MOST_HELDOUT, min(documents, default=HELDOUT_PART) // HELDOUT_PART)),
        vocab_size=max(fitting, default=VOCABULARIES[0]),
        tokenizer_bytes=_rounded(min(MOST_TOKENIZER_BYTES, text_bytes)),
        sequence_length=length,
        run_tokens=_rounded(tokens, up=tokens == needed),
    )


def _large_enough(sources: Sequence[FoundSource], length: int) -> tuple[list[FoundSource], list[Skipped]]:
    """Leave out, the smallest first, what is too small for a share of two windows in the longest run."""
    kept = sorted(sources, key=lambda source: source.tokens)
    left_out = []
    while len(kept) > 1 and LEAST_WINDOWS * length * sum(one.tokens for one in kept) > MOST_TOKENS * kept[0].tokens:
        gone = kept.pop(0)
        reason = f"about {gone.tokens:,} tokens: too few beside the other sources for a share of a short run"
        left_out.append(Skipped(gone.name, gone.files, reason))
    return sorted(kept, key=lambda source: source.name), left_out


def _rounded(value: float, *, up: bool = False) -> int:
    """To two digits, down or up."""
    unit: int = 10 ** max(0, math.floor(math.log10(max(1, value))) - 1)
    return int(math.ceil(value / unit) if up else value // unit) * unit
