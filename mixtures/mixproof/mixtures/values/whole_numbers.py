"""Whole numbers of a spec, each with an upper bound and the reason for it, so that a typing error is found at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from .quantities import INT32, MAX_INT32, parse_whole


def _whole(most: int, reason: str, *, least: int = 1, least_reason: str = "") -> tuple[PlainValidator, WithJsonSchema]:
    about = f"A whole number from {least} to {most:,}"
    schema = {"type": "integer", "minimum": least, "maximum": most, "description": about}
    return PlainValidator(lambda value: parse_whole(value, least, most, reason, least_reason)), WithJsonSchema(schema)


WholeNumber = Annotated[int, *_whole(MAX_INT32, INT32)]
WholeNumberOrZero = Annotated[int, *_whole(MAX_INT32, INT32, least=0)]
MAX_SEED = 2**63 - 1
Seed = Annotated[int, *_whole(MAX_SEED, "seeds are 64-bit integers", least=0)]
NgramLength = Annotated[int, *_whole(1_000, "longer n-grams match only whole copies")]
SubstringBytes = Annotated[
    int,
    *_whole(
        10_000,
        "longer repeats are found as well as repeats of 10,000",
        least=50,
        least_reason="shorter repeats are common phrases",
    ),
]
SignatureSize = Annotated[int, *_whole(1_000, "a signature holds bands x rows minima per document")]
ExpansionRatio = Annotated[int, *_whole(1_000_000, "no compression reaches a higher ratio")]
VocabularySize = Annotated[int, *_whole(2**24, "embeddings of more ids do not fit in memory")]
TokenId = Annotated[int, *_whole(2**24 - 1, "embeddings of more ids do not fit in memory", least=0)]
ClusterNumber = Annotated[int, *_whole(1_000, "each cluster becomes a source", least=2)]
Quantiles = Annotated[int, *_whole(1_000, "each quantile becomes a source", least=2)]
SequenceLength = Annotated[int, *_whole(2**24, "a sample must fit in memory")]
Layers = Annotated[int, *_whole(10_000, "deeper models do not fit in memory")]
Width = Annotated[int, *_whole(2**20, "wider models do not fit in memory")]
RopeBase = Annotated[int, *_whole(10**12, "rotary angles are 32-bit floats")]
