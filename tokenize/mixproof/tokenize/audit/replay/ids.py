"""Ids and masks of replayed texts, compared with the `.bin` and the `.mask`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.datasets import DatasetRecord
from mixproof.ledger.store import Store
from mixproof.tokenize.audit.ids.conversation_ids import ConversationIds, Rendered, ends_supervised
from mixproof.tokenize.audit.ids.reference_ids import reference_ids
from mixproof.tokenize.audit.parts.dataset import UINT16_BELOW
from mixproof.tokenize.audit.report import Checks

from .documents import ReplayedDocument

BATCH_TEXTS = 256


class ReplayedIds:
    """Encodes texts in batches with the reference and compares their ids with the `.bin`."""

    def __init__(self, store: Store, manifest: Manifest, checks: Checks) -> None:
        self._store, self._checks = store, checks
        self._reference = reference_ids(store.path(manifest.tokenizer.path), manifest.tokenizer)
        bos_id = manifest.tokenizer.bos_id
        self._before = [] if bos_id is None else [bos_id]
        self._tokenizer = manifest.tokenizer
        self._ids: ConversationIds | None = None
        self._masks: dict[str, NDArray[np.uint8]] = {}
        self._eod_id = manifest.tokenizer.eod_id
        self._dtype = np.uint16 if manifest.tokenizer.vocab_size < UINT16_BELOW else np.int32
        self._parts: dict[str, NDArray[np.integer]] = {}
        self._texts: list[str] = []
        self._expected: list[tuple[ReplayedDocument, str]] = []

    def add(self, text: str, expected: ReplayedDocument, record: str) -> None:
        """Take a text; every BATCH_TEXTS texts are encoded and compared."""
        self._texts.append(text)
        self._expected.append((expected, record))
        if len(self._texts) == BATCH_TEXTS:
            self.flush()

    def check_conversation(self, conversation: Rendered, document: ReplayedDocument, checks: Checks) -> None:
        """Compare ids and mask of a conversation with the `.bin` and the `.mask`."""
        tokens = self._conversations().encode(conversation)
        if tokens is None:
            return
        stored = self._part(document.part)[document.first_token : document.first_token + document.tokens]
        path = self._store.path(f"{document.part.prefix}.mask")
        if document.part.prefix not in self._masks:
            self._masks[document.part.prefix] = np.memmap(path, np.uint8, mode="r")
        mask = self._masks[document.part.prefix][document.first_token : document.first_token + document.tokens]
        same = np.array_equal(stored, [*self._before, *tokens.ids, self._eod_id])
        found = f"other ids, {len(stored)} in all"
        checks.at(file=self.path_of(f"{document.part.prefix}.bin")).true(
            "E5", same, f"the {len(tokens.ids)} ids of the reference and an EOD", found
        )
        same = np.array_equal(mask, [*(0 for _ in self._before), *tokens.mask, ends_supervised(conversation)])
        supervised = f"{sum(tokens.mask)} supervised tokens as rendered"
        checks.at(file=str(path)).true("E5", same, supervised, f"another mask, {int(mask.sum())} supervised")

    def _conversations(self) -> ConversationIds:
        if self._ids is None:
            self._ids = ConversationIds(self._store.path(self._tokenizer.path), self._tokenizer)
        return self._ids

    def path_of(self, name: str) -> str:
        """The path of a file of the store, for findings."""
        return str(self._store.root / name)

    def flush(self) -> None:
        """Encode and compare the texts that are left."""
        if not self._texts:
            return
        for (document, record), ids in zip(self._expected, self._reference.encode(self._texts), strict=True):
            stored = self._part(document.part)[document.first_token : document.first_token + document.tokens]
            same = np.array_equal(stored, [*self._before, *ids, self._eod_id])
            at = self._checks.at(file=self.path_of(f"{document.part.prefix}.bin"), shard=record)
            at.true("E5", same, f"the {len(ids)} ids of the reference and an EOD", f"other ids, {len(stored)} in all")
        self._texts, self._expected = [], []

    def _part(self, part: DatasetRecord) -> NDArray[np.integer]:
        if part.prefix not in self._parts:
            self._parts[part.prefix] = np.memmap(self._store.path(f"{part.prefix}.bin"), self._dtype, mode="r")
        return self._parts[part.prefix]
