"""Log-likelihoods of answers given their contexts, computed by the Megatron model itself.

Every context follows an EOD, as documents do in training. A context that exceeds the run's sequence length is
truncated on the left. Context and answer are encoded together and split as lm-evaluation-harness does: if the context
alone has n ids, the answer is everything after the first n ids. Scoring uses float32 on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from megatron.core.models.gpt import GPTModel

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.tokenize.tokenizer.reference import Reference
from mixproof.train.model.token_losses import losses_and_hits

from .evaluate import BATCH_TOKENS


@dataclass(frozen=True)
class _Row:
    """One answer to score."""

    request: int
    """Index of the request."""
    ids: list[int]
    """EOD (and BOS), context and answer; the last id is a target only."""
    answer: int
    """Number of ids in the answer."""


class AnswerScorer:
    """A run's model and tokenizer, which score answers."""

    def __init__(
        self,
        model: GPTModel,
        reference: Reference,
        tokenizer: TokenizerRecord,
        *,
        sequence_length: int,
        device: torch.device,
    ) -> None:
        self._model, self._reference = model, reference
        self._eod_id, self._length, self._torch_device = tokenizer.eod_id, sequence_length, device
        self._before = [tokenizer.eod_id] if tokenizer.bos_id is None else [tokenizer.eod_id, tokenizer.bos_id]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Log-likelihood of the answer of each (context, answer), and whether greedy decoding would produce it."""
        rows = self._rows(pairs)
        found: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
        rows.sort(key=lambda row: -len(row.ids))
        first = 0
        with torch.inference_mode(), torch.autocast(self._torch_device.type, enabled=False):
            while first < len(rows):
                batch = rows[first : first + max(BATCH_TOKENS[self._torch_device.type] // len(rows[first].ids), 1)]
                for row, score in zip(batch, self._scored(batch), strict=True):
                    found[row.request] = score
                first += len(batch)
        return found

    def score_whole(self, texts: Sequence[str]) -> list[float]:
        """Log-likelihood of each text, in consecutive windows."""
        totals = []
        for text in texts:
            ids = [*self._before, *self._encode([text])[0]]
            windows = [ids[i : i + self._length + 1] for i in range(0, len(ids) - 1, self._length)]
            rows = [
                _Row(0, window, len(window) - (1 if number else len(self._before)))
                for number, window in enumerate(windows)
            ]
            with torch.inference_mode(), torch.autocast(self._torch_device.type, enabled=False):
                totals.append(sum(self._scored([row])[0][0] for row in rows))
        return totals

    def _rows(self, pairs: Sequence[tuple[str, str]]) -> list[_Row]:
        # trailing white space of a context moves to the answer, because tokens start with white space
        moved = [(context.rstrip(), context[len(context.rstrip()) :] + answer) for context, answer in pairs]
        contexts = self._encode([context for context, _ in moved])
        wholes = self._encode([context + answer for context, answer in moved])
        rows = []
        for index, (context, whole) in enumerate(zip(contexts, wholes, strict=True)):
            answer = max(len(whole) - len(context), 1)
            if answer > self._length:
                raise RequestError(
                    f"an answer of {answer} tokens exceeds the run's sequence length of {self._length}; "
                    "shorten it or remove the question"
                )
            rows.append(_Row(index, [*self._before, *whole][-self._length - 1 :], answer))
        return rows

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._reference.encode(texts)
        ends = np.cumsum(encoded.lengths)
        return [part.tolist() for part in np.split(encoded.ids, ends[:-1])]

    def _scored(self, batch: Sequence[_Row]) -> list[tuple[float, bool]]:
        width = len(batch[0].ids) - 1
        ids = torch.tensor([row.ids + [self._eod_id] * (width + 1 - len(row.ids)) for row in batch])
        last = torch.tensor([len(row.ids) - 1 for row in batch])[:, None]
        position = torch.arange(width)
        counts = (position < last) & (position >= last - torch.tensor([row.answer for row in batch])[:, None])
        losses, hits = losses_and_hits(
            self._model,
            ids[:, :-1].to(self._torch_device),
            position.expand(len(batch), -1).to(self._torch_device),
            ids[:, 1:].to(self._torch_device),
            counts.to(self._torch_device),
        )
        answers = [row.answer for row in batch]
        parts = zip(torch.split(losses.double().cpu(), answers), torch.split(hits.cpu(), answers), strict=True)
        return [(-float(nats.sum()), bool(likeliest.all())) for nats, likeliest in parts]
