"""Engines encode texts; this file chooses the fastest one that gives the ids of the reference.

The reference of a SentencePiece model is SentencePiece (4-7 MB/s per core), that of a `tokenizer.json` the tokenizers
package (1-3 MB/s), that of a tiktoken encoding our own (`tiktoken.py`). gigatoken is several times faster, but it is
another implementation. It is chosen if

1. it is known to be exact for every part of the tokenizer (`admission.py`), and
2. it encodes every test text as the reference does (`hard_texts.py`): with every special and every added token in all
   positions and spellings.

`encode.py` then encodes a sample of a build's documents with the reference too, and a difference stops the build. The
engine of a build is recorded in its circumstances and never part of its identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from mixproof.pipeline.columns import column_of

from .admission import (
    FAST,
    FAST_EXCEPT,
    FAST_EXCEPT_NEW,
    FAST_NORMALIZED,
    HUGGINGFACE_REFERENCE,
    REFERENCE,
    TIKTOKEN_REFERENCE,
    admit_huggingface,
    admit_sentencepiece,
    admit_tiktoken,
    exceptions,
    unassigned_characters,
)
from .encoded import Encoded, joined
from .fast_forms import huggingface_form, sentencepiece_form, tiktoken_form
from .hard_texts import hard_texts
from .huggingface import HuggingFaceReference
from .patterns import PATTERNS
from .reference import Reference, kind_of, load_reference
from .sentencepiece import load_processor
from .tiktoken import TiktokenEncoding, TiktokenReference, rank_file

REFERENCE_OF = {"sentencepiece": REFERENCE, "huggingface": HUGGINGFACE_REFERENCE, "tiktoken": TIKTOKEN_REFERENCE}
"""The reference of each kind of tokenizer, as the name of an engine."""
SAMPLE = 1000
"""One in this many documents, by text hash, is encoded by the reference too."""

RELOAD_AFTER_BYTES = 128_000_000
"""UTF-8 bytes after which gigatoken is reloaded; bounds its memory, by about 100 MB on ordinary text."""


class Engine(Protocol):
    """Encodes batches of texts."""

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """The ids of each text, given in UTF-8, without EODs."""
        ...


class Slow:
    """The reference as an engine."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """The ids of each text, given in UTF-8, without EODs."""
        return self._reference.encode([text.decode() for text in texts])


class Fast:
    """gigatoken for one tokenizer, after SentencePiece's normalizer if there is one.

    It encodes one text per call: a batch starts with an empty word cache each time, which is 25% slower on batches of
    4 MB. The cache of single calls only grows, by 0.7 bytes per byte of ordinary text and by 9 of random letters, so
    the tokenizer is reloaded, in 50 ms, after every `RELOAD_AFTER_BYTES`.
    """

    def __init__(self, make: Callable[[], Any], normalizer: SentencePieceProcessor | None = None) -> None:
        """`make` loads gigatoken's tokenizer."""
        self._make, self._normalizer = make, normalizer
        self._load()

    def _load(self) -> None:
        self._tokenizer: Any = self._make().backend
        self._bytes = 0

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """The ids of each text, given in UTF-8, without EODs."""
        if self._bytes > RELOAD_AFTER_BYTES:
            self._load()
        self._bytes += sum(map(len, texts))
        encode = self._tokenizer.encode
        if self._normalizer is None:
            rows = [encode(text) for text in texts]
        else:
            rows = [encode(text) for text in self._normalizer.normalize([text.decode() for text in texts])]
        ids: NDArray[np.uint32] = joined(rows, np.uint32)
        return Encoded(ids.view(np.int32), np.fromiter(map(len, rows), np.int64, len(rows)))


class FastExcept:
    """gigatoken, but the reference for texts that `pattern` finds."""

    def __init__(self, fast: Fast, slow: Slow, pattern: str) -> None:
        self._fast, self._slow, self._pattern = fast, slow, pattern

    def encode(self, texts: Sequence[bytes]) -> Encoded:
        """The ids of each text, given in UTF-8, without EODs."""
        matches: list[bool] = pc.match_substring_regex(column_of(texts, pa.large_string()), self._pattern).to_pylist()
        if not any(matches):
            return self._fast.encode(texts)
        fast = iter(split_rows(self._fast.encode([text for text, has in zip(texts, matches, strict=True) if not has])))
        slow = iter(split_rows(self._slow.encode([text for text, has in zip(texts, matches, strict=True) if has])))
        rows = [next(slow if has else fast) for has in matches]
        ids: NDArray[np.int32] = np.concatenate(rows)
        return Encoded(ids, np.fromiter(map(len, rows), np.int64, len(rows)))


def split_rows(encoded: Encoded) -> list[NDArray[np.int32]]:
    """The ids of each text."""
    ends = np.cumsum(encoded.lengths).tolist()
    ids = encoded.ids.astype(np.int32, copy=False)
    return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@lru_cache(maxsize=4)
def load_engine(name: str, path: str) -> Engine:
    """Load an engine once per process.

    Args:
        name: a result of `choose_engine`.
        path: the tokenizer's file.

    Raises:
        ValueError: when there is no engine of this name for this tokenizer.
    """
    reference = load_reference(path)
    if name == reference_of(path):
        return Slow(reference)
    if isinstance(reference, HuggingFaceReference):
        pattern = exceptions(reference.form)
        if name == FAST:
            return Fast(partial(from_json, huggingface_form(reference.form, with_added=True)))
        if name == FAST_EXCEPT and pattern:
            fast = Fast(partial(from_json, huggingface_form(reference.form, with_added=False)))
            return FastExcept(fast, Slow(reference), pattern)
    elif isinstance(reference, TiktokenReference):
        if name == FAST_EXCEPT_NEW:
            return FastExcept(Fast(_tiktoken_loader(reference.encoding)), Slow(reference), unassigned_characters())
    elif name in (FAST, FAST_NORMALIZED):
        normalizer = load_processor(path) if name == FAST_NORMALIZED else None
        form = sentencepiece_form(Path(path).read_bytes(), is_normalized=normalizer is not None)
        return Fast(partial(from_json, form), normalizer)
    raise ValueError(f"there is no engine {name!r} for {path}")


def from_json(form: bytes) -> Any:  # noqa: ANN401  the package has no types
    """Gigatoken's tokenizer for a `tokenizer.json`."""
    import gigatoken  # slow to import, and the references do not need it

    return gigatoken.Tokenizer.from_json(form)


def _tiktoken_loader(encoding: TiktokenEncoding) -> Callable[[], Any]:
    if encoding.pattern != PATTERNS["cl100k"]:
        return partial(from_json, huggingface_form(tiktoken_form(encoding), with_added=False))
    ranks = rank_file(encoding.ranks)

    def load() -> Any:  # noqa: ANN401  the package has no types
        import gigatoken  # slow to import, and the references do not need it

        with NamedTemporaryFile(suffix=".tiktoken") as file:  # it reads this pattern only beside a rank file
            file.write(ranks)
            file.flush()
            return gigatoken.Tokenizer.from_tiktoken(file.name, "gpt4", {})

    return load


def reference_of(path: str) -> str:
    """The name of the reference as an engine."""
    return REFERENCE_OF[kind_of(path)]


@lru_cache(maxsize=4)
def choose_engine(path: str) -> str:
    """The fastest engine that is admitted and encodes every test text as the reference does."""
    reference = load_reference(path)
    if isinstance(reference, HuggingFaceReference):
        name = admit_huggingface(reference.form)
    elif isinstance(reference, TiktokenReference):
        name = admit_tiktoken(reference.encoding)
    else:
        name = admit_sentencepiece(Path(path).read_bytes())
    is_exact = name != reference_of(path) and _can_load(name, path) and not differing_texts(name, path)
    return name if is_exact else reference_of(path)


def _can_load(name: str, path: str) -> bool:
    """Whether gigatoken can read the tokenizer; it raises an error for what it does not know."""
    try:
        load_engine(name, path)
    except (RuntimeError, ValueError):
        return False
    return True


def differing_texts(name: str, path: str) -> list[str]:
    """Test texts that an engine and the reference encode differently."""
    reference = load_reference(path)
    texts = hard_texts(reference.special_pieces, reference.added_pieces)
    expected, found = reference.encode(texts), load_engine(name, path).encode([text.encode() for text in texts])
    if np.array_equal(expected.ids, found.ids) and np.array_equal(expected.lengths, found.lengths):
        return []
    rows = zip(texts, split_rows(expected), split_rows(found), strict=True)
    return [text for text, right, ids in rows if not np.array_equal(right, ids)]
