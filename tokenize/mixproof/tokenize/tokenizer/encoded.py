"""The result of encoding a batch of texts, by any engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """The concatenated ids of a batch of texts."""

    ids: NDArray[np.int32] | NDArray[np.int64]
    """[tokens] without EODs."""
    lengths: NDArray[np.int64]
    """[texts] number of ids of each text; 0 if a text encodes to nothing."""
