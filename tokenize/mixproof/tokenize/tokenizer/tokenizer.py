"""The tokenizer of a build: its file, its end of document (EOD), and its copy in the store.

The reference of a tokenizer (`reference.py`) defines which ids are right. The file is copied into the store under the
hash of its bytes, so a build keeps the tokenizer it was encoded with. The EOD must be a piece that text can never
produce, so an EOD in a dataset is always the end of a document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.records.tokenizer import TokenizerRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.blocks.tokenizer import Tokenizer
from mixproof.mixtures.load import LoadedSpec

from .huggingface import TOKENIZER
from .masked import count_conversations
from .reference import Kind, Reference, kind_of, load_reference
from .sentinels import check_sentinels
from .tiktoken import ENCODING, TiktokenReference, compose_encoding

STAGE = "tokenizer"
STAGE_VERSION = 1
MODEL = "tok.model"
NAMES: dict[Kind, str] = {"sentencepiece": MODEL, "huggingface": TOKENIZER, "tiktoken": ENCODING}


def given_tokenizer(loaded: LoadedSpec) -> Path | None:
    """The file of the tokenizer that a spec names; None if the build trains one.

    A folder, in which Hugging Face tokenizers are distributed, means the `tokenizer.json` in it.
    """
    declared = loaded.spec.tokenizer
    given = next(filter(None, (declared.sentencepiece, declared.huggingface, declared.tiktoken)), None)
    if given is None:
        return None
    path = loaded.base / Path(given).expanduser()
    return path / TOKENIZER if declared.huggingface is not None and path.is_dir() else path


def check_given_tokenizer(loaded: LoadedSpec) -> None:
    """Refuse a given tokenizer that cannot be used; reads it and writes nothing.

    Raises:
        RequestError: when it cannot be read, has no such end of document, or lacks the tokens of fill-in-the-middle.
    """
    path, declared = given_tokenizer(loaded), loaded.spec.tokenizer
    if path is None:
        return
    if declared.tiktoken is None:
        reference = load_reference(str(path))
        _find_ends(reference, path, declared.eod, declared.bos)
        check_sentinels(loaded.spec, reference)
        return
    with TemporaryDirectory() as folder:
        composed = Path(folder) / ENCODING
        composed.write_bytes(compose_encoding(path, declared.pattern, declared.special_tokens))
        encoding = TiktokenReference(str(composed))
        _find_ends(encoding, path, declared.eod, declared.bos)
        check_sentinels(loaded.spec, encoding)


def store_given_tokenizer(store: Store, file: Path, declared: Tokenizer) -> TokenizerRecord:
    """Copy the tokenizer that a spec declares into the store; `file` is that of `given_tokenizer`."""
    if declared.tiktoken is None:
        return store_tokenizer(store, file, declared.eod, declared.bos)
    encoding = compose_encoding(file, declared.pattern, declared.special_tokens)
    key = store_model(store, encoding, ENCODING)
    return store_tokenizer(store, store.path(f"{STAGE}/{key}/{ENCODING}"), declared.eod, declared.bos)


def store_tokenizer(store: Store, file: Path, eod: str | None, bos: bool | str = False) -> TokenizerRecord:
    """Check a tokenizer and copy it into the store, under a key of its bytes.

    Args:
        store: where the copy goes.
        file: a SentencePiece model, a `tokenizer.json` or an `encoding.tiktoken`.
        eod: piece to use as end of document; None: the tokenizer's own.
        bos: piece that begins every document; True: the tokenizer's own; False: none.

    Raises:
        RequestError: when the file cannot be read or has no such end or beginning of document.
    """
    data, kind = file.read_bytes(), kind_of(str(file))
    key = store_model(store, data, NAMES[kind])
    # everything else comes from the copy: the file may change after it was read
    reference = load_reference(str(store.path(f"{STAGE}/{key}/{NAMES[kind]}")))
    eod_id, bos_id = _find_ends(reference, file, eod, bos)
    return TokenizerRecord(
        kind=kind,
        path=f"{STAGE}/{key}/{NAMES[kind]}",
        sha256=hashlib.sha256(data).hexdigest(),
        vocab_size=reference.vocab_size,
        eod_id=eod_id,
        bos_id=bos_id,
    )


def _find_ends(reference: Reference, file: Path, eod: str | None, bos: bool | str) -> tuple[int, int | None]:
    """The ids of EOD and BOS."""
    eod_id = reference.find_eod(eod, file)
    if not bos:
        return eod_id, None
    bos_id = reference.find_bos(None if bos is True else bos, file)
    if bos_id == eod_id:
        raise RequestError(
            f"tokenizer.bos: its id {bos_id} is that of the EOD, which separates documents already; remove `bos`, or "
            "name another piece"
        )
    return eod_id, bos_id


def store_model(store: Store, model: bytes, name: str = MODEL) -> str:
    """Put a tokenizer's file into the store unless the store has it; return its key."""
    key = stage_key(STAGE, STAGE_VERSION, {}, hashlib.sha256(model).hexdigest())
    if store.receipt(STAGE, key) is None:
        with store.attempt(STAGE, key) as attempt:
            attempt.path(name).write_bytes(model)
            attempt.commit()
    return key


@dataclass(frozen=True)
class TokenCounter:
    """Counts the tokens of texts, EODs included; tasks on other machines may receive it."""

    store: Store
    path: str
    """Of the tokenizer, relative to the store."""
    around: int = 1
    """Tokens that are added to each text: its EOD, and its BOS if there is one."""

    def __call__(self, texts: Sequence[str], marks: Sequence[str] | None = None) -> list[int]:
        """Tokens of each text, EOD and BOS included; 0 for one that encodes to nothing, which no dataset contains.

        With the marks of rendered conversations, tokens are counted as those are encoded; a pair has two EODs.
        """
        path = str(self.store.path(self.path))
        if marks is not None:
            return count_conversations(path, texts, marks, self.around)
        lengths = load_reference(path).encode(texts).lengths
        return [int(length) + self.around if length else 0 for length in lengths]
