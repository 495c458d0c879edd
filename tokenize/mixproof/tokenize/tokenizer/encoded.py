"""The result of encoding a batch of texts, by any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

AnyIds = TypeVar("AnyIds", np.int32, np.uint32)


@dataclass(frozen=True)
class Encoded:
    """The concatenated ids of a batch of texts."""

    ids: NDArray[np.int32] | NDArray[np.int64]
    """[tokens] without EODs."""
    lengths: NDArray[np.int64]
    """[texts] number of ids of each text; 0 if a text encodes to nothing."""


def joined(rows: Sequence[NDArray[AnyIds]], kind: type[AnyIds]) -> NDArray[AnyIds]:
    """The ids of all texts in one array; those of a single text, which may be long, are not copied."""
    if len(rows) == 1:
        return rows[0]
    return np.concatenate(rows) if rows else np.zeros(0, kind)
