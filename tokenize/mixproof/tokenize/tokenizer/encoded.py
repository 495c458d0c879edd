"""What encoding a batch of texts gives, by whatever engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """The ids of a batch of texts, one after another."""

    ids: NDArray[np.int32] | NDArray[np.int64]
    """[tokens] without EODs."""
    lengths: NDArray[np.int64]
    """[texts] ids of each; 0 where a text encodes to nothing."""
