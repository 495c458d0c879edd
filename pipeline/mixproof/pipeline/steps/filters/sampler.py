"""`sampler`: keeps a share of the documents by the hash of their text.

datatrove's SamplerFilter draws from a running random generator, so what it keeps depends on the order of
documents and on the number of workers. The hash is salted, so that it is independent of other uses of text hashes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

import xxhash
from pydantic import Field, PlainValidator, WithJsonSchema

from mixproof.ledger.fingerprint import derive_seed
from mixproof.mixtures.values.quantities import SHARE_FORMS, parse_share
from mixproof.pipeline.steps.document import Document
from mixproof.pipeline.steps.step import Apply, Drop, Options

VERSION = 1
NOT_SAMPLED = "not_sampled"


def _some_share(value: object) -> Fraction:
    rate = parse_share(value)
    if not rate:
        raise ValueError("a rate of 0 keeps no document; give a higher one, such as 1%, or remove the source")
    return rate


class SamplerOptions(Options):
    """The share to keep."""

    rate: Annotated[
        Any,
        PlainValidator(_some_share),
        WithJsonSchema({"anyOf": SHARE_FORMS}),
        Field(description="the share to keep, such as `rate: 10%`"),
    ]


def make_sampler(options: SamplerOptions) -> Apply:
    """Drop documents outside the share, as `not_sampled`."""
    rate, seed = options.rate, derive_seed("sampler")
    bound = rate.numerator * 2**64

    def apply(document: Document) -> str | Drop:
        digest = xxhash.xxh3_64_intdigest(document.text.encode(), seed)
        return document.text if digest * rate.denominator < bound else Drop(NOT_SAMPLED)

    return apply
