"""How well a run's windows were used: positions that held a token, and documents cut though they fit into a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .delivered import samples_of, saved_streams
from .saved_index import read_index_record
from .saved_stream import LeftOut


@dataclass(frozen=True)
class WindowUse:
    """The windows that a run consumed, over all sources."""

    fill: float
    """Share of positions that held a token."""
    cut_documents: int
    """Documents of at most a window's length that were in more than one window, counted once per pass."""
    padding_tokens: int
    """Positions without a token."""
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    """After pretraining, what no window of a pass holds, by source; empty in pretraining."""

    def to_json(self) -> dict[str, object]:
        """Return the form that `train --json` prints."""
        left_out = {name: each._asdict() for name, each in self.left_out.items()}
        use = {"fill": self.fill, "cut_documents": self.cut_documents, "padding_tokens": self.padding_tokens}
        return {**use, **({"left_out": left_out} if left_out else {})}


def window_use(index_folder: Path, consumed_samples: int) -> WindowUse:
    """Count over the windows of a run, up to its checkpoint.

    Args:
        index_folder: the run's `index/`.
        consumed_samples: of the checkpoint.

    Raises:
        AccountError: when E8 or E9 does not close.
        DamagedFileError: when the index is missing, truncated or does not follow the schema.
    """
    record = read_index_record(index_folder)
    samples = samples_of(index_folder, record, consumed_samples)
    padding, cut, left_out = 0, 0, {}
    for name, stream in saved_streams(index_folder, record).items():
        padding += stream.padding(samples[name])
        cut += stream.cut_documents(samples[name])
        if samples[name] and (short := stream.left_out()) is not None:
            left_out[name] = short
    positions = consumed_samples * record.sequence_length
    return WindowUse((positions - padding) / positions if positions else 1.0, cut, padding, left_out)
