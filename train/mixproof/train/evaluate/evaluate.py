"""Evaluation: the exact loss and bits per byte of a held-out set.

Bits per byte = sum of -log2 p over content tokens and EODs / UTF-8 bytes of the texts before the tokenizer's
normalizer. After pretraining only the supervised tokens of conversations are scored, and their bytes counted. Each
document is scored alone: it starts after an EOD, and one longer than S tokens is cut into
windows of S targets with stride S; the last token of one window is the first input of the next. Every held-out token
is therefore a target exactly once (E10), and a score does not depend on neighbouring documents or on their order.

Windows are sorted by length and scored in right-padded batches with a fixed number of padded tokens, which keeps
padding below 5% (measured on documents of 2 to 6,000 tokens). Logits are computed for a few rows at a time
(`token_losses`). Losses are float32 per token and summed in float64. Scoring always uses float32, never autocast.

With n ranks, each rank scores every n-th batch. Adding zeros is exact, so the result equals that of one rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError
from mixproof.train.model.token_losses import token_losses

from .attribute_terms import AttributeTerms
from .heldout_parts import HeldoutDocuments
from .pair_terms import PairTerms

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Padded tokens per batch."""


@dataclass(frozen=True)
class Scores:
    """What a model scored on one held-out set."""

    documents: HeldoutDocuments
    nll_nats: NDArray[np.float64]
    """[documents] sum of -ln p over each document's scored tokens, EOD included."""
    pairs: PairTerms | None = None
    """Of a set of pairs: documents 2i and 2i + 1 are the chosen and the rejected answer."""
    attributes: AttributeTerms | None = None
    """Of a set of rated answers."""
    kl_nats: NDArray[np.float64] | None = None
    """[documents] after preference optimization: sum of KL(model || starting checkpoint) over the supervised tokens, 0
    for rejected answers."""
    units: int | None = None
    """Of a reward model: pairs, or rated attributes; `nll_nats` are then its losses. None: tokens are scored."""

    @property
    def tokens(self) -> int:
        """Scored targets; of pairs, those of the chosen answers."""
        return int(self.documents.targets[self._counted].sum()) if self.units is None else self.units

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the texts; of the answers if only supervised tokens are scored."""
        answers = self.documents.answer_bytes
        return int((self.documents.text_bytes if answers is None else answers)[self._counted].sum())

    @property
    def loss(self) -> float:
        """Nats per token."""
        return float(self.nll_nats[self._counted].sum()) / self.tokens

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of text; None for a reward model, which predicts none."""
        return None if self.units is not None else self._bits_per_byte

    @property
    def _bits_per_byte(self) -> float:
        return float(self.nll_nats[self._counted].sum()) / math.log(2) / self.text_bytes

    @property
    def _counted(self) -> slice:
        """The documents whose losses are summed."""
        return slice(None) if self.pairs is None else slice(None, None, 2)


@dataclass(frozen=True)
class Windows:
    """The windows of a held-out set: documents in order, each cut from its start."""

    document: NDArray[np.int64]
    """[windows] index of the window's document."""
    first: NDArray[np.int64]
    """[windows] index of the first target in the set's ids."""
    targets: NDArray[np.int64]
    """[windows] number of targets, 1 to S; with a mask some of them are not scored."""


def cut_windows(starts: NDArray[np.int64], sequence_length: int) -> Windows:
    """Cut documents into windows of `sequence_length` targets; a document's last window may be shorter.

    Args:
        starts: [documents + 1] offset of each document, and the end; no document is empty.
        sequence_length: S, in targets.
    """
    tokens = np.diff(starts)
    counts = -(-tokens // sequence_length)
    document = np.repeat(np.arange(len(tokens)), counts)
    number = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = starts[document] + number * sequence_length
    return Windows(document, first, np.minimum(sequence_length, starts[document + 1] - first))


def evaluate(
    model: torch.nn.Module,
    documents: HeldoutDocuments,
    *,
    eod_id: int,
    sequence_length: int,
    device: torch.device,
    batch_tokens: int | None = None,
) -> Scores:
    """Score a held-out set.

    Args:
        model: a GPTModel, or a module that returns losses in nats when called like one with labels. Its mode is
            restored afterwards.
        documents: the set, with at least one document.
        eod_id: the token that precedes every document.
        sequence_length: targets per window, the training's S.
        device: the model's device.
        batch_tokens: padded tokens per batch; None: the device's default. The last digits of sums depend on it.

    Raises:
        AccountError: when a token was not scored exactly once, or its loss is not finite (E10).
    """
    windows = cut_windows(documents.starts, sequence_length)
    if documents.mask is not None:
        windows = _with_targets(windows, documents.mask)
    ids = np.concatenate([[eod_id], documents.ids]).astype(np.int64)
    batches = list(batches_of(windows, batch_tokens or BATCH_TOKENS[device.type]))
    was_training = model.training
    model.eval()
    try:
        nll, scored = _score_windows(model, ids, documents.mask, windows, batches, device)
    finally:
        model.train(was_training)
    _check_e10(documents, windows, nll, scored)
    nll_of_documents = np.zeros(len(documents.file), np.float64)
    np.add.at(nll_of_documents, windows.document, nll)
    return Scores(documents, nll_of_documents)


def _with_targets(windows: Windows, mask: NDArray[np.uint8]) -> Windows:
    """Return the windows that have a supervised token."""
    counts = np.add.reduceat(mask, windows.first, dtype=np.int64)  # windows follow each other without gaps
    some = counts > 0
    return Windows(windows.document[some], windows.first[some], windows.targets[some])


def _score_windows(
    model: torch.nn.Module,
    ids: NDArray[np.int64],
    mask: NDArray[np.uint8] | None,
    windows: Windows,
    batches: Sequence[NDArray[np.int64]],
    device: torch.device,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """[windows] loss in nats and number of scored targets, summed over all ranks."""
    nll = np.zeros(len(windows.document), np.float64)
    scored = np.zeros(len(windows.document), np.int64)
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for batch in batches[rank::ranks]:
            batch_of = (windows.first[batch], windows.targets[batch])
            nll[batch], counts = _score_batch(model, ids, mask, *batch_of, device)
            scored[batch] += counts
    if ranks > 1:
        nll = _sum_over_ranks(nll, device)
        scored = _sum_over_ranks(scored.astype(np.float64), device).astype(np.int64)
    return nll, scored


def batches_of(windows: Windows, batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Window indices of each batch, longest windows first, at most `batch_tokens` tokens including padding."""
    order = np.argsort(-windows.targets, kind="stable")
    first = 0
    while first < len(order):
        rows = max(batch_tokens // int(windows.targets[order[first]]), 1)
        yield order[first : first + rows]
        first += rows


def write_scores(path: Path, scores: Sequence[Scores]) -> None:
    """Write per-document losses as Parquet, one row per held-out document."""
    pq.write_table(scores_table(scores), path, compression="zstd")


def scores_table(scores: Sequence[Scores]) -> Any:  # noqa: ANN401  pyarrow ships no types
    """A pyarrow table of per-document losses.

    Columns: `source`, `document` (from 0 in each source), `file`, `record`, `text_bytes`, `tokens`, `nll_nats`. With
    masks also `supervised_tokens` (the scored ones), `answer_bytes` and `prompt_xxh128`; null for plain texts. Of pairs
    also `reward`; of ratings `attribute.NAME` and `predicted.NAME`, and `nll_nats` are the losses of a
    reward model. After preference optimization also `kl_nats`, 0 for rejected answers.
    """
    tables = [
        pa.table(
            {
                "source": pa.array([score.documents.source] * len(score.nll_nats), pa.string()),
                "document": np.arange(len(score.nll_nats), dtype=np.int64),
                "file": pa.array(score.documents.file, pa.string()),
                "record": score.documents.record,
                "text_bytes": score.documents.text_bytes,
                "tokens": score.documents.tokens,
                "nll_nats": score.nll_nats,
                **_supervised_columns(score.documents),
                **({} if score.pairs is None else score.pairs.columns()),
                **({} if score.kl_nats is None else {"kl_nats": score.kl_nats}),
                **({} if score.attributes is None else score.attributes.columns()),
            }
        )
        for score in scores
    ]
    return pa.concat_tables(tables, promote_options="default")


def _supervised_columns(documents: HeldoutDocuments) -> dict[str, Any]:
    if documents.mask is None:
        return {}
    return {
        "supervised_tokens": documents.targets,
        "answer_bytes": documents.answer_bytes,
        "prompt_xxh128": pa.array(documents.prompts, pa.string()),
    }


def _score_batch(
    model: torch.nn.Module,
    ids: NDArray[np.int64],
    mask: NDArray[np.uint8] | None,
    first: NDArray[np.int64],
    targets: NDArray[np.int64],
    device: torch.device,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """[windows in the batch] loss in nats, and number of scored targets.

    `ids` starts with an EOD and every document ends with one, so the input of a document's first target is the EOD
    before it, and target t is `ids[t + 1]`.
    """
    width = int(targets.max())
    columns = np.arange(width)
    indices = np.minimum(first[:, None] + columns, len(ids) - 2)
    scored = columns < targets[:, None]
    if mask is not None:
        scored &= mask[indices] == 1
    counts = torch.from_numpy(scored).to(device)
    tokens = torch.from_numpy(ids[indices]).to(device)
    labels = torch.from_numpy(ids[indices + 1]).to(device)
    positions = torch.arange(width, device=device).expand(len(first), -1)
    losses = torch.zeros(counts.shape, dtype=torch.float64, device=device)
    losses[counts] = token_losses(model, tokens, positions, labels, counts).double()
    sums: NDArray[np.float64] = losses.sum(1).cpu().numpy()
    return sums, scored.sum(1)


def _sum_over_ranks(values: NDArray[np.float64], device: torch.device) -> NDArray[np.float64]:
    tensor = torch.from_numpy(values).to(device)
    dist.all_reduce(tensor)
    summed: NDArray[np.float64] = tensor.cpu().numpy()
    return summed


def _check_e10(
    documents: HeldoutDocuments, windows: Windows, nll: NDArray[np.float64], scored: NDArray[np.int64]
) -> None:
    where = {"source": documents.source, "stage": "evaluate"}
    found = np.zeros(len(documents.file), np.int64)
    np.add.at(found, windows.document, scored)
    if not np.array_equal(found, documents.targets):
        raise AccountError("E10", int(documents.targets.sum()), int(found.sum()), **where)
    if not np.isfinite(nll).all():
        found_text = f"NaN or infinity in {int((~np.isfinite(nll)).sum())} windows"
        raise AccountError("E10", "a finite loss for every token", found_text, **where)
