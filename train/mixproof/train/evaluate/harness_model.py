"""A run's model as lm-evaluation-harness calls it: log-likelihoods of answers, from the Megatron model itself.

Every context stands after an EOD, as every document did in training. A context that does not fit into the run's
sequence length loses its beginning. Ids are those of context and answer encoded together, as the harness cuts them:
the answer's are what is behind as many ids as the context has alone. Arithmetic is float32 on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from megatron.core.models.gpt import GPTModel

from mixproof.ledger.errors import RequestError
from mixproof.tokenize.tokenizer.reference import Reference
from mixproof.train.model.token_losses import losses_and_hits

from .evaluate import BATCH_TOKENS


@dataclass(frozen=True)
class _Row:
    """One answer to score."""

    place: int
    """Among the requests."""
    ids: list[int]
    """EOD, context and answer; the last is no input."""
    answer: int
    """Ids of the answer."""


class HarnessModel(LM):  # type: ignore[misc]  # the harness has no types
    """What the harness asks of a model, but for writing text."""

    def __init__(
        self, model: GPTModel, reference: Reference, *, eod_id: int, sequence_length: int, device: torch.device
    ) -> None:
        super().__init__()
        self._model, self._reference = model, reference
        self._eod_id, self._length, self._where = eod_id, sequence_length, device

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood of each answer behind its context, and whether every id of it is the likeliest."""
        rows = self._rows([request.args for request in requests])
        found: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
        rows.sort(key=lambda row: -len(row.ids))
        first = 0
        with torch.inference_mode(), torch.autocast(self._where.type, enabled=False):
            while first < len(rows):
                batch = rows[first : first + max(BATCH_TOKENS[self._where.type] // len(rows[first].ids), 1)]
                for row, score in zip(batch, self._scored(batch), strict=True):
                    found[row.place] = score
                first += len(batch)
        return found

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood of each text, in windows one behind the other."""
        totals = []
        for request in requests:
            ids = [self._eod_id, *self._encode([request.args[0]])[0]]
            windows = [ids[i : i + self._length + 1] for i in range(0, len(ids) - 1, self._length)]
            rows = [_Row(0, window, len(window) - 1) for window in windows]
            with torch.inference_mode(), torch.autocast(self._where.type, enabled=False):
                totals.append(sum(self._scored([row])[0][0] for row in rows))
        return totals

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Not done.

        Raises:
            RequestError: always.
        """
        raise RequestError(
            f"a task asks for written text ({len(requests)} times); proxies are scored on tasks with given answers: "
            "multiple_choice, loglikelihood and loglikelihood_rolling"
        )

    def _rows(self, pairs: Sequence[tuple[str, str]]) -> list[_Row]:
        # white space at the end of a context belongs to the answer, because tokens begin with it
        moved = [(context.rstrip(), context[len(context.rstrip()) :] + answer) for context, answer in pairs]
        contexts = self._encode([context for context, _ in moved])
        wholes = self._encode([context + answer for context, answer in moved])
        rows = []
        for place, (context, whole) in enumerate(zip(contexts, wholes, strict=True)):
            answer = max(len(whole) - len(context), 1)
            if answer > self._length:
                raise RequestError(
                    f"an answer of {answer} tokens does not fit into the run's sequence length of {self._length}"
                )
            rows.append(_Row(place, [self._eod_id, *whole][-self._length - 1 :], answer))
        return rows

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._reference.encode(texts)
        ends = np.cumsum(encoded.lengths)
        return [part.tolist() for part in np.split(encoded.ids, ends[:-1])]

    def _scored(self, batch: Sequence[_Row]) -> list[tuple[float, bool]]:
        width = len(batch[0].ids) - 1
        ids = torch.tensor([row.ids + [self._eod_id] * (width + 1 - len(row.ids)) for row in batch])
        last = torch.tensor([len(row.ids) - 1 for row in batch])[:, None]
        place = torch.arange(width)
        counts = (place < last) & (place >= last - torch.tensor([row.answer for row in batch])[:, None])
        losses, hits = losses_and_hits(
            self._model,
            ids[:, :-1].to(self._where),
            place.expand(len(batch), -1).to(self._where),
            ids[:, 1:].to(self._where),
            counts.to(self._where),
        )
        answers = [row.answer for row in batch]
        parts = zip(torch.split(losses.double().cpu(), answers), torch.split(hits.cpu(), answers), strict=True)
        return [(-float(nats.sum()), bool(likeliest.all())) for nats, likeliest in parts]
