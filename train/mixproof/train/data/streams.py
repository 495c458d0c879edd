"""Streams of concatenated documents: the infinite, fixed order of a source's training windows.

Epoch e of a source is Megatron's GPTDataset over its draw for one pass: documents are shuffled, concatenated and cut
into W = (T - 1) // S windows of S targets (each reads S + 1 tokens), and the windows are shuffled. Megatron's own
multi-epoch dataset reorders everything when a budget crosses an epoch, so it is not used. With fill-in-the-middle the
GPTDataset of an epoch reads the draw through `_TransformedDocuments`, with the lengths of that epoch.

Every rank builds Megatron's index arrays in memory (seconds for 10^7 documents). Megatron's cache is keyed by path, not
by content, only one rank writes it, and a kill leaves it truncated. `blend.py` saves the arrays of a run.

E7 is checked on the arrays of every epoch that is built: T = 1 + W·S + unused tokens, window j starts at token j·S of
the pass, and every document and window occurs once; with fill-in-the-middle T includes the sentinels of the epoch.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split
from numpy.typing import NDArray
from torch import Tensor

from mixproof.ledger.errors import AccountError, RequestError
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import windows
from mixproof.train.record import MasksRecord
from mixproof.train.request import Draw, RunRequest

from .fim import Arrangements, Fim, added_tokens
from .index_writer import IndexWriter
from .packed_stream import PackedStream
from .saved_index import EpochRecord, StreamRecord
from .source_stream import SourceStream

logger = logging.getLogger(__name__)
logging.getLogger("megatron.core.datasets.gpt_dataset").setLevel(logging.ERROR)  # it warns about the missing cache

NO_CACHE = ""
"""Value of `path_to_cache` for arrays in memory. None would put a cache beside the dataset."""
NO_PAD = -1
"""Megatron masks every label that equals the pad id; no token has this id."""


class _Vocabulary:
    """The tokenizer attributes that GPTDataset reads."""

    pad = NO_PAD

    def __init__(self, eod_id: int, vocab_size: int) -> None:
        self.eod, self.vocab_size = eod_id, vocab_size
        self.unique_identifiers = OrderedDict(eod=eod_id, vocab_size=vocab_size)


class _TransformedDocuments:
    """A draw as one epoch reads it: documents with fill-in-the-middle, in the interface that GPTDataset reads."""

    def __init__(self, indexed: IndexedDataset, fim: Fim, arrangements: Arrangements) -> None:
        self._indexed, self._fim, self._arrangements = indexed, fim, arrangements
        self.path_prefix = indexed.path_prefix
        self.sequence_lengths: NDArray[np.int32] = indexed.sequence_lengths + added_tokens(arrangements)

    def get(self, idx: int, offset: int = 0, length: int | None = None) -> NDArray[Any]:
        """Return tokens of document `idx`, from `offset` on."""
        ids = self._fim.document(self._indexed.get(idx), self._arrangements[idx])
        return ids[offset:] if length is None else ids[offset : offset + length]


class Stream(SourceStream):
    """The windows of concatenated documents: those of epoch 0, then of epoch 1, and so on without end."""

    def __init__(
        self,
        prefix: Path,
        draw: Draw,
        *,
        seed: int,
        sequence_length: int,
        masks: MasksRecord,
        eod_id: int,
        vocab_size: int,
        fim: Fim | None = None,
        name: str | None = None,
    ) -> None:
        """Open a draw at `prefix` (without `.bin`); its path does not affect the order.

        Raises:
            RequestError: when the draw is too small for one window of `sequence_length` targets.
            AccountError: when the `.bin` or `.idx` does not have the draw's documents and tokens (E6).
        """
        super().__init__(draw, seed=seed, sequence_length=sequence_length, fim=fim, name=name)
        self.masks, self.eod_id = masks, eod_id
        self.windows = windows(draw.tokens, sequence_length)
        self.unused_tokens = draw.tokens - 1 - self.windows * sequence_length
        """Tokens at the end of a pass that are never targets; with fill-in-the-middle, of a pass without it."""
        if self.windows < 1:
            raise RequestError(
                f"source {self.source}: {draw.tokens} tokens are too few for one window of {sequence_length} + 1 "
                "tokens; add text, use a shorter sequence_length, or set its share to 0"
            )
        self._prefix = prefix
        self._vocabulary = _Vocabulary(eod_id, vocab_size)
        self._indexed = IndexedDataset(str(prefix))  # kept: Megatron's arrays are views into its memory map
        self.lengths = self._indexed.sequence_lengths.copy()
        self._arrangements: dict[int, Arrangements] = {}
        self._epochs: dict[int, GPTDataset] = {}
        self._check_draw(
            prefix.with_name(f"{prefix.name}.bin").stat().st_size, np.dtype(self._indexed.index.dtype).itemsize
        )

    def epoch(self, epoch: int) -> GPTDataset:
        """Return Megatron's dataset for one pass; the first call builds and checks it.

        Raises:
            AccountError: when E7 does not close.
        """
        if epoch not in self._epochs:
            dataset = self._build(epoch)
            check_pass(
                self._lengths_in(epoch),
                dataset.document_index,
                dataset.sample_index,
                dataset.shuffle_index,
                self.sequence_length,
                source=self.source,
                epoch=epoch,
            )
            logger.debug("source %s: built epoch %d, %d windows", self.source, epoch, self.windows_in(epoch))
            self._epochs[epoch] = dataset
        return self._epochs[epoch]

    def sample(self, k: int) -> dict[str, Tensor]:
        """Read window `k` of the stream: `tokens`, `labels`, `position_ids` (int64), `loss_mask` (float32), [S] each.

        Raises:
            AccountError: when the loss mask does not sum to S minus the masked targets (E7).
        """
        epoch, index = self.locate(k)
        sample: dict[str, Tensor] = self.epoch(epoch)[index]
        masked = int((sample["tokens"] == self.eod_id).sum()) if self.masks.eod_mask_loss else 0
        targets = int(sample["loss_mask"].sum())
        if targets != self.sequence_length - masked:
            raise AccountError(
                "E7",
                f"{self.sequence_length} - {masked} targets",
                targets,
                source=self.source,
                stage="stream",
                unit=f"epoch {epoch}, window {index}",
            )
        return sample

    def save(self, writer: IndexWriter, number: int, samples: int) -> StreamRecord:
        """Write the order of documents and windows of every epoch that the first `samples` windows reach."""
        epochs = []
        for epoch in self._epochs_read(samples):
            dataset, arrangements = self.epoch(epoch), self._arrangement(epoch)
            name = f"stream-{number:03d}-epoch-{epoch:04d}"
            epochs.append(
                EpochRecord(
                    epoch=epoch,
                    seed=self.seed_of(epoch),
                    document_index=writer.save(dataset.document_index, f"{name}-document_index"),
                    sample_index=writer.save(dataset.sample_index, f"{name}-sample_index"),
                    shuffle_index=writer.save(dataset.shuffle_index, f"{name}-shuffle_index"),
                    windows=None if arrangements is None else self.windows_in(epoch),
                    fim=None if arrangements is None else writer.save(arrangements, f"{name}-fim"),
                )
            )
        return StreamRecord(**self._drawn(writer, number), rest=self.unused_tokens, epochs=tuple(epochs))

    def _build(self, epoch: int) -> GPTDataset:
        config = GPTDatasetConfig(
            random_seed=self.seed_of(epoch),
            sequence_length=self.sequence_length,
            blend_per_split=[([str(self._prefix)], None), None, None],
            path_to_cache=NO_CACHE,
            tokenizer=self._vocabulary,
            reset_position_ids=self.masks.reset_position_ids,
            reset_attention_mask=self.masks.document_mask,
            eod_mask_loss=self.masks.eod_mask_loss,
            create_attention_mask=False,
        )
        documents = np.arange(len(self.lengths), dtype=np.int32)
        indexed, arrangements = self._indexed, self._arrangement(epoch)
        if self.fim is not None and arrangements is not None:
            indexed = _TransformedDocuments(self._indexed, self.fim, arrangements)
        return GPTDataset(indexed, str(self._prefix), documents, None, Split.train, config)

    def _arrangement(self, epoch: int) -> Arrangements | None:
        """Return how each document is read in an epoch; None: as it is."""
        if self.fim is None:
            return None
        if epoch not in self._arrangements:
            self._arrangements[epoch] = self.fim.of_documents(epoch, self.lengths)
        return self._arrangements[epoch]

    def _lengths_in(self, epoch: int) -> NDArray[np.int32]:
        """Return [documents] tokens of each in an epoch."""
        arrangements = self._arrangement(epoch)
        return self.lengths if arrangements is None else self.lengths + added_tokens(arrangements)

    def _windows_with_fim(self, epoch: int) -> int:
        return windows(int(self._lengths_in(epoch).sum(dtype=np.int64)), self.sequence_length)


def streams_of(
    store: Store, request: RunRequest, values: Mapping[str, NDArray[np.float64]] | None = None
) -> dict[str, Stream | PackedStream]:
    """Open every stream that a run reads, by name.

    Args:
        store: of the draws.
        request: the run.
        values: by stream, [documents, values] that the stage needs to know of each document.

    Raises:
        RequestError: when a draw is too small for one window.
        AccountError: when a draw is not complete (E6).
    """
    lengths = request.budget.lengths_of_streams
    return {
        name: _open(store, request, draw, name, lengths.get(name), (values or {}).get(name))
        for name, draw in request.draws.items()
    }


def _open(
    store: Store,
    request: RunRequest,
    draw: Draw,
    name: str,
    sequence_length: int | None,
    values: NDArray[np.float64] | None,
) -> Stream | PackedStream:
    prefix, tokenizer, fim = store.folder(draw.prefix), request.tokenizer, None
    length = sequence_length or request.budget.sequence_length
    if request.fim is not None and draw.source in request.fim:
        has_bos = tokenizer.bos_id is not None
        fim = Fim(request.fim[draw.source], prefix, request.seed, name, has_bos=has_bos)
    if request.masks.best_fit:
        return PackedStream(
            prefix,
            draw,
            seed=request.seed,
            sequence_length=length,
            masks=request.masks,
            eod_id=tokenizer.eod_id,
            values=values,
            too_long=None if request.post_training is None else request.post_training.too_long,
            fim=fim,
            name=name,
        )
    return Stream(
        prefix,
        draw,
        seed=request.seed,
        sequence_length=length,
        masks=request.masks,
        eod_id=tokenizer.eod_id,
        vocab_size=tokenizer.vocab_size,
        fim=fim,
        name=name,
    )


def check_pass(
    lengths: NDArray[np.int32],
    document_index: NDArray[np.int32],
    sample_index: NDArray[np.int64],
    shuffle_index: NDArray[np.int64],
    sequence_length: int,
    *,
    source: str,
    epoch: int,
) -> None:
    """Check E7 on the arrays of one pass.

    Args:
        lengths: [documents] tokens of each.
        document_index: [documents] the order in which they are concatenated.
        sample_index: [windows + 1, 2] of each start, the index in `document_index` and the token in that document.
        shuffle_index: [windows] the order in which windows are read.
        sequence_length: targets per window.
        source: for errors.
        epoch: for errors.

    Raises:
        AccountError: when a document or window is missing or occurs twice, or a window does not start
            `sequence_length` tokens after the previous one.
    """
    where = {"source": source, "stage": "stream", "unit": f"epoch {epoch}"}
    count = windows(int(lengths.sum(dtype=np.int64)), sequence_length)
    if sample_index.shape != (count + 1, 2) or shuffle_index.shape != (count,):
        found = f"{len(sample_index) - 1} in the sample index, {len(shuffle_index)} in the shuffle index"
        raise AccountError("E7", f"{count} windows", found, **where)
    for name, index in (("document", document_index), ("shuffle", shuffle_index)):
        size = len(lengths) if name == "document" else count
        if len(index) != size or not np.array_equal(np.sort(index), np.arange(size)):
            raise AccountError("E7", f"each of {size} once in the {name} index", "others", **where)
    starts = np.concatenate([[0], np.cumsum(lengths[document_index], dtype=np.int64)])
    positions = starts[sample_index[:, 0]] + sample_index[:, 1]
    expected = np.arange(count + 1, dtype=np.int64) * sequence_length
    if not np.array_equal(positions, expected):
        window = int(np.argmax(positions != expected))
        found = f"at token {positions[window]}"
        raise AccountError("E7", f"window {window} at token {expected[window]}", found, **where)
