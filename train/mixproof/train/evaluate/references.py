"""Reference log-probabilities: ln p of every answer by the checkpoint from which preference optimization starts.

They are computed once for each checkpoint and data, one forward pass a document, and stored by content:

    <store>/reference/<key>/<source>.parquet     document, supervised_tokens (int64), log_probability (float64)

The key hashes the checkpoint, the model's shape, the sequence length and the checksums of the data, so runs of other
seeds or settings find it again. Documents are scored as held-out sets are (float32, each after an EOD). When an
artifact is found, a sample of its documents is computed again and must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from megatron.core.models.gpt import GPTModel
from numpy.typing import NDArray

from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.fingerprint import sha256_of_file, stage_key
from mixproof.ledger.store import Store
from mixproof.tokenize.dataset.indexed import read_index
from mixproof.train.checkpoint.initial import initial_weights
from mixproof.train.distributed import Ranks
from mixproof.train.model.model import build_model
from mixproof.train.request import RunRequest, checksums_of

from .evaluate import evaluate
from .heldout_parts import HeldoutDocuments

REFERENCE = "reference"
REFERENCE_VERSION = 1
SAMPLE = 8
"""Documents that are computed again when an artifact is found."""
PLAIN = {"compression": "none", "use_dictionary": False, "write_statistics": False}
"""Random floats do not compress."""
TOLERANCE = 1e-3
"""Nats per token by which a sample may differ: another device or number of ranks adds in another order."""


@dataclass(frozen=True)
class Reference:
    """The log-probabilities of one set of documents."""

    path: str
    """In the store."""
    sha256: str
    log_probability: NDArray[np.float64]
    """[documents] sum of ln p over the supervised tokens of each."""
    reused: bool
    """Whether it was found in the store; else this process computed it."""


def reference_model(request: RunRequest, device: torch.device) -> GPTModel:
    """Build the model of the starting checkpoint."""
    initial = request.init_from
    if initial is None:
        raise RequestError(f"{request.name}: the stage needs a checkpoint to start from; set `init_from`")
    model = build_model(
        request.shape,
        vocab_size=request.tokenizer.vocab_size,
        sequence_length=request.budget.sequence_length,
        rope_base=request.rope_base,
        seed=request.seed,
        device=device,
    )
    weights = initial_weights(initial, request.shape, request.tokenizer.vocab_size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model.eval()


class References:
    """The reference log-probabilities of a run's data; the model is built only if some are missing."""

    def __init__(self, store: Store, request: RunRequest, ranks: Ranks) -> None:
        """Compute nothing yet."""
        self._store, self._request, self._ranks = store, request, ranks
        self._model: GPTModel | None = None
        self._known: dict[str, Reference] = {}

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every artifact that was used, by path in the store."""
        return {reference.path: reference.sha256 for reference in self._known.values()}

    @property
    def origins(self) -> dict[str, str]:
        """Whether each artifact that was used was `computed` or `reused`, by path in the store."""
        known = self._known.values()
        return {reference.path: "reused" if reference.reused else "computed" for reference in known}

    @property
    def model(self) -> GPTModel:
        """The model of the starting checkpoint."""
        if self._model is None:
            self._model = reference_model(self._request, self._ranks.device)
        return self._model

    def of_draw(self, source: str) -> Reference:
        """Return those of a source's training documents."""
        draw = self._request.draws[source]
        data = [draw.bin_sha256, draw.idx_sha256, draw.provenance_sha256, draw.mask_sha256 or ""]
        return self._of(source, data, drawn_documents(source, self._store.folder(draw.prefix)))

    def of_heldout(self, documents: HeldoutDocuments) -> Reference:
        """Return those of a source's held-out documents."""
        parts = self._request.heldout[documents.source].datasets
        return self._of(documents.source, [sha256 for part in parts for sha256 in checksums_of(part)], documents)

    def _of(self, source: str, data: Sequence[str], documents: HeldoutDocuments) -> Reference:
        key = self._key(source, data)
        if key in self._known:
            return self._known[key]
        path = f"{REFERENCE}/{key}/{source}.parquet"
        found = bool(self._ranks.agree("found" if self._ranks.first and self._store.receipt(REFERENCE, key) else ""))
        if found:
            self._check_sample(path, documents)
        else:
            values = self._compute(documents)
            if self._ranks.first:
                self._write(key, source, documents, values)
            self._ranks.barrier()
        local = self._store.path(path)
        values = pq.read_table(local)["log_probability"].to_numpy()
        self._known[key] = Reference(path, sha256_of_file(local), values, found)
        return self._known[key]

    def _key(self, source: str, data: Sequence[str]) -> str:
        request = self._request
        assert request.init_from is not None, "checked when the spec was read"
        config = {
            "architecture": request.architecture.model_dump(mode="json"),
            "rope_base": request.rope_base,
            "sequence_length": request.budget.sequence_length,
        }
        inputs = {"checkpoint": request.init_from.sha256, "source": source, "data": list(data)}
        return stage_key(REFERENCE, REFERENCE_VERSION, config, inputs)

    def _compute(self, documents: HeldoutDocuments) -> NDArray[np.float64]:
        request = self._request
        scores = evaluate(
            self.model,
            documents,
            eod_id=request.tokenizer.eod_id,
            sequence_length=request.budget.sequence_length,
            device=self._ranks.device,
        )
        return -scores.nll_nats

    def _write(self, key: str, source: str, documents: HeldoutDocuments, values: NDArray[np.float64]) -> None:
        table = pa.table(
            {
                "document": np.arange(len(values), dtype=np.int64),
                "supervised_tokens": documents.targets,
                "log_probability": values,
            }
        )
        with self._store.attempt(REFERENCE, key) as attempt:
            pq.write_table(table, attempt.path(f"{source}.parquet"), **PLAIN)
            attempt.commit(facts={"documents": len(values)})

    def _check_sample(self, path: str, documents: HeldoutDocuments) -> None:
        """Compute some documents again, from the first to the last, and compare.

        Raises:
            AccountError: when the artifact is of other data or another model.
        """
        stored = pq.read_table(self._store.path(path))
        where = {"source": documents.source, "stage": REFERENCE, "unit": path}
        if not np.array_equal(stored["supervised_tokens"].to_numpy(), documents.targets):
            raise AccountError("E10", "the supervised tokens of the data", "others", **where)
        chosen = np.unique(np.linspace(0, stored.num_rows - 1, SAMPLE).astype(np.int64))
        sample = documents.select(chosen)
        found = self._compute(sample)
        expected = stored["log_probability"].to_numpy()[chosen]
        worst = float((np.abs(found - expected) / sample.targets).max())
        if worst > TOLERANCE:
            raise AccountError(
                "E10", f"log-probabilities within {TOLERANCE} nats per token", f"a difference of {worst:.2g}", **where
            )


def drawn_documents(source: str, prefix: Path) -> HeldoutDocuments:
    """Load the documents of a draw with their mask."""
    index = read_index(prefix.with_name(f"{prefix.name}.idx"))
    ids = np.fromfile(prefix.with_name(f"{prefix.name}.bin"), index.dtype).astype(np.int32)
    mask_path = prefix.with_name(f"{prefix.name}.mask")
    count = len(index.lengths)
    return HeldoutDocuments(
        source=source,
        ids=ids,
        starts=np.concatenate([[0], np.cumsum(index.lengths, dtype=np.int64)]),
        file=[""] * count,
        record=np.arange(count, dtype=np.int64),
        text_bytes=np.zeros(count, np.int64),
        text_xxh128=[""] * count,
        mask=np.fromfile(mask_path, np.uint8) if mask_path.is_file() else np.ones(len(ids), np.uint8),
    )
