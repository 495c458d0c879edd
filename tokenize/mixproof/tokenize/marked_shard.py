"""Encode the conversations of one shard: ids, a mask of the supervised tokens, and provenance.

A pair of answers is one row of texts and two documents, the chosen conversation and then the rejected one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.chat.marks import Marks
from mixproof.pipeline.columns import array_of, table_of

from .dataset.indexed import append_eods
from .dataset.provenance import open_schema
from .shard_encoder import ShardAccount, hex_hashes
from .shard_tokens import Texts
from .tokenizer.encoded import Encoded
from .tokenizer.masked import Conversation, Masked, MaskedEncoder

ANSWERS = ("chosen", "rejected")


@dataclass(frozen=True)
class _Document:
    """One document of the dataset: a conversation, or one of a pair."""

    row: int
    """Its row in the batch."""
    number: int
    """0, or 1 for the rejected answer."""
    conversation: Conversation
    masked: Masked


class MarkedShardEncoder(ShardAccount):
    """Encodes the conversations of one shard."""

    def __init__(self, store: Store, texts: Texts, tokenizer: TokenizerRecord) -> None:
        super().__init__(texts, tokenizer)
        assert texts.kind is not None, "plain documents have no marks"
        self._encoder = MaskedEncoder(str(store.path(tokenizer.path)))
        self.schema = open_schema(texts.kind, texts.attributes)
        self.supervised_tokens = 0

    def encode_batch(self, rows: pa.Table, out: BinaryIO, mask_out: BinaryIO) -> pa.Table:
        """Encode a batch, write its tokens and its mask, and return its provenance.

        Raises:
            RequestError: when the template writes the token that begins or ends documents.
        """
        texts: list[bytes] = pc.cast(rows["text"], pa.large_binary()).to_pylist()
        text_bytes = array_of(rows["text_bytes"])
        self.check_texts(texts, hex_hashes(rows["text_xxh128"]), text_bytes)
        marks = [Marks.from_json(value) for value in rows["marks"].to_pylist()]
        documents = self._documents([text.decode() for text in texts], marks)
        self._check_ends(documents)
        empty = {document.row for document in documents if not len(document.masked.ids)}
        documents = [document for document in documents if document.row not in empty]
        encoded = Encoded(
            _joined((document.masked.ids for document in documents), np.dtype(np.int64)),
            np.array([len(document.masked.ids) for document in documents], np.int64),
        )
        self.check_ids(encoded, len(documents))
        eod_id, bos_id = self._tokenizer.eod_id, self._tokenizer.bos_id
        tokens = append_eods(encoded.ids, encoded.lengths, eod_id, self.dtype, bos_id)
        masks = [_with_ends(document, self._tokenizer.around - 1) for document in documents]
        mask = _joined(masks, np.dtype(np.uint8))
        assert len(mask) == len(tokens), "a mask has one entry per token"
        out.write(tokens.data)
        mask_out.write(mask.data)
        self.tokens += len(tokens)
        self.supervised_tokens += int(mask.sum(dtype=np.int64))
        self.count(text_bytes, np.array([row not in empty for row in range(rows.num_rows)], np.bool_))
        return self._provenance(rows, marks, documents, masks)

    def _documents(self, texts: Sequence[str], marks: Sequence[Marks]) -> list[_Document]:
        parts = [
            (row, number, Conversation(*each))
            for row, (text, found) in enumerate(zip(texts, marks, strict=True))
            for number, each in enumerate(found.conversations(text))
        ]
        masked = self._encoder.encode([conversation for _, _, conversation in parts])
        return [_Document(*part, ids) for part, ids in zip(parts, masked, strict=True)]

    def _check_ends(self, documents: Sequence[_Document]) -> None:
        for key, number in (("eod", self._tokenizer.eod_id), ("bos", self._tokenizer.bos_id)):
            if number is not None and any((document.masked.ids == number).any() for document in documents):
                raise RequestError(
                    f"sources.{self._texts.source}.template: it writes the token {number}, which `tokenizer.{key}` "
                    f"puts around every document; remove it there, or set `tokenizer.{key}` to another special token"
                )

    def _provenance(
        self,
        rows: pa.Table,
        marks: Sequence[Marks],
        documents: Sequence[_Document],
        masks: Sequence[NDArray[np.uint8]],
    ) -> pa.Table:
        names = [name for name in ("file", "record", "id") if name in rows.column_names]
        heads = rows.select(names).to_pylist()
        prompts = hex_hashes(rows["prompt_xxh128"])
        listed = []
        for document, mask in zip(documents, masks, strict=True):
            data = document.conversation.text.encode()
            head = heads[document.row]
            listed.append(
                (
                    head.get("file"),
                    head["record"],
                    head["id"],
                    xxhash.xxh3_128_hexdigest(data),
                    len(data),
                    len(mask),
                    int(mask.sum(dtype=np.int64)),
                    prompts[document.row],
                    *self._about(marks[document.row], document.number),
                )
            )
        return table_of(listed, self.schema)

    def _about(self, marks: Marks, number: int) -> tuple[object, ...]:
        """The values of the columns that only this kind of source has."""
        if self._texts.kind == "preferences":
            return (ANSWERS[number], marks.ratings[number] if marks.ratings else None, marks.margin)
        if self._texts.kind == "ratings":
            return tuple(marks.attributes.get(name) for name in self._texts.attributes)
        return ()


def _with_ends(document: _Document, before: int) -> NDArray[np.uint8]:
    """The mask of a document with its EOD; a BOS (`before` is 1) is not supervised, because nothing precedes it."""
    ends = np.uint8(document.conversation.ends_supervised)
    return np.concatenate([np.zeros(before, np.uint8), document.masked.mask, [ends]])


def _joined(arrays: Iterable[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *arrays])
