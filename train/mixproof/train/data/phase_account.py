"""The account of a run's phases, for runs whose phases have their own sequence length or documents.

It states per phase and source which documents the phase could draw from, what it was to read of them, and what it read,
replayed from the saved index. Documents that another phase draws as well are counted in both phases, and stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from mixproof.train.delivered_record import DrawRecord, PhaseAccount, PhaseRecord

from .saved_index import IndexRecord, PackedStreamRecord, StreamRecord, load_array, read_index_record


def phase_accounts(
    index_folder: Path, phases: Sequence[PhaseRecord], consumed_samples: int
) -> tuple[dict[str, PhaseAccount], ...]:
    """Replay what every phase read of every source, up to a checkpoint.

    Args:
        index_folder: the run's `index/`.
        phases: as planned, with their declared shares.
        consumed_samples: of the checkpoint.
    """
    index = read_index_record(index_folder)
    streams = {stream.name: stream for stream in index.streams}
    accounts = []
    for planned, saved in zip(phases, index.phases, strict=True):
        reached = load_array(index_folder, saved.dataset_index)[: index.windows_of(saved, consumed_samples)]
        counts = np.bincount(reached, minlength=len(saved.sources)).tolist()
        accounts.append(
            {
                source: account_of(index, streams[name], planned, source, read)
                for source, name, read in zip(saved.sources, saved.names, counts, strict=True)
            }
        )
    return tuple(accounts)


def account_of(
    index: IndexRecord, stream: StreamRecord | PackedStreamRecord, phase: PhaseRecord, source: str, read: int
) -> PhaseAccount:
    """The account of one source in a phase that read `read` of its samples."""
    draw, length = stream.draw, index.length_of(stream)
    documents, tokens = available(stream.draw, stream.dataset_documents, stream.dataset_tokens)
    return PhaseAccount(
        available_documents=documents,
        available_tokens=tokens,
        drawn_documents=draw.documents,
        drawn_tokens=draw.tokens,
        also_drawn_documents=draw.shared_documents or 0,
        also_drawn_tokens=draw.shared_tokens or 0,
        declared=float(Fraction((phase.declared or {})[source])),
        planned=phase.samples_of[source] * length,
        delivered=read * length,
        epochs=read / stream.windows * draw.tokens / tokens,
    )


def available(draw: DrawRecord, dataset_documents: int, dataset_tokens: int) -> tuple[int, int]:
    """Documents and tokens that a draw could have: those of the source, unless it has a part or long documents only."""
    documents = dataset_documents if draw.available_documents is None else draw.available_documents
    return documents, dataset_tokens if draw.available_tokens is None else draw.available_tokens
