"""The claims of `docs/guides/train-on-gpus.md` that need a GPU, and the part of `gpu.py` that checks each.

The guide's table has the same sentences in the same order; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

SIZES = ("62m", "350m")


@dataclass(frozen=True)
class Claim:
    """One sentence of the guide."""

    text: str
    part: str
    """Name of the part that gives its verdict."""


def backends_agree(size: str) -> str:
    """The claim that what a run would choose is correct."""
    return f"every installed backend agrees with the plain layers within 5%, {size}"


def memory_fits(size: str) -> str:
    """The claim on the estimate of `plan`."""
    return f"peak memory is within 25% of the estimate of plan, {size}"


def ahead_of_peer(size: str) -> str:
    """The claim on speed."""
    return f"faster than a compiled LlamaForCausalLM, {size}"


PRECISION = "weights, moments and scores are float32, and training computes in bfloat16"
ROUNDING = "two correct backends differ by about 1% in bfloat16"
REJECTS = "the check rejects an attention scale that is off by a tenth"
MASKED = "with document_mask, Transformer Engine's layers with torch's attention agree with the plain layers"
RESUMES = "a resumed run is the same to the bit"
CHANGES = "a run continues with another backend from the same checkpoint"
SCORES = "scores do not depend on the backend, to the bit"
RANKS = "two ranks agree with one"
UTILIZATION = "at least 40% MFU, 350m"
SHARING = "four runs that share a GPU reach at least 2.5 times the rate of one, 62m"
COMPILED_FASTER = "compiled layers are faster than plain ones, 62m"

CLAIMS = (
    Claim(PRECISION, "precision, 62m"),
    *(Claim(backends_agree(size), f"backends, {size}") for size in SIZES),
    Claim(ROUNDING, "backends, 62m"),
    Claim(REJECTS, "backends, 62m"),
    Claim(MASKED, "backends, 62m"),
    Claim(RESUMES, "resume, 62m"),
    Claim(CHANGES, "resume, 62m"),
    Claim(SCORES, "resume, 62m"),
    Claim(RANKS, "ranks, 62m"),
    *(Claim(memory_fits(size), f"memory, {size}") for size in SIZES),
    *(Claim(ahead_of_peer(size), f"speeds, {size}") for size in SIZES),
    Claim(UTILIZATION, "speeds, 350m"),
    Claim(COMPILED_FASTER, "speeds, 62m"),
    Claim(SHARING, "sharing, 62m"),
)
