"""Hugging Face `tokenizer.json`: encoded by the tokenizers package, which is then the reference.

By default that package turns a literal `</s>` in a text into the control id. Here special tokens are split like any
other text, and nothing is added around a document; padding and truncation are off. In some models (unigram, word
level) a special token is also an ordinary entry of the vocabulary, which the text would hit all the same: such
entries get a name that no text holds, so that ids and scores stay as they are, and every special token is probed
before the tokenizer may be used. Added tokens that are not special are matched literally, as their model wants it.

The end of document is the `eos_token` of `tokenizer_config.json` or `special_tokens_map.json` beside the file, or the
one that the spec names; it must be a special token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mixproof.ledger.errors import RequestError

from .encoded import Encoded

TOKENIZER = "tokenizer.json"
CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")
PROBES = ("{}", "a{}b", "a {} b", "  {}\n", "{0}{0}")
HIDDEN = "\ufdd0{}\ufdd1"
"""Noncharacters of Unicode, which stand in no text that is interchanged."""


class HuggingFaceReference:
    """One `tokenizer.json`, made safe against literal special tokens.

    Raises:
        RequestError: when the file is no tokenizer, or a special token's text cannot be kept from its id.
    """

    def __init__(self, path: str) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a task has one processor
        self._path = path
        self._form = _read_form(path)
        self._whole = _load(self._form, path)
        self._special = {str(token["content"]): int(token["id"]) for token in _special_tokens(self._form)}
        self._tokenizer = self._made_safe()
        vocabulary: dict[str, int] = self._whole.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        """One more than the largest id, added tokens included."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        rows = [row.ids for row in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        return Encoded(np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths)

    def decode(self, documents: list[list[int]]) -> list[str]:
        """The texts of lists of ids."""
        texts: list[str] = self._whole.decode_batch(documents, skip_special_tokens=False)
        return texts

    def find_eod(self, piece: str | None) -> int:
        """The id of `piece`, or of the `eos_token` beside the file where it is None.

        Raises:
            RequestError: when there is none, or it is no special token.
        """
        token = piece if piece is not None else _eos_of(Path(self._path).parent)
        known = ", ".join(map(repr, self._special)) or "none"
        if token is None:
            raise RequestError(
                f"tokenizer: no eos_token in {' or '.join(CONFIGS)} beside {self._path}; name its end of document with "
                f"`eod: TOKEN`; its special tokens: {known}"
            )
        if self._whole.token_to_id(token) is None:
            raise RequestError(f"tokenizer.eod: the tokenizer has no token {token!r}; its special tokens: {known}")
        if token not in self._special:
            raise RequestError(
                f"tokenizer.eod: {token!r} is no special token, so a text that holds it would end there; name one of "
                f"{known}"
            )
        return self._special[token]

    @property
    def pieces(self) -> list[str]:
        """What a hard text should hold literally: all added tokens."""
        return [str(token["content"]) for token in self._form.get("added_tokens") or []]

    def fast_form(self) -> str | None:
        """The tokenizer as gigatoken can read it, special tokens left out; None for a model that it does not know."""
        if self._form["model"].get("type") != "BPE":
            return None
        added = [token for token in self._form.get("added_tokens") or [] if not token.get("special")]
        form = self._form | {"added_tokens": added, "post_processor": None, "padding": None, "truncation": None}
        return json.dumps(form, ensure_ascii=False)

    def _made_safe(self) -> Any:  # noqa: ANN401  the package has no types
        tokenizer = _split_special(self._whole)
        reached = self._reached(tokenizer, self._special)
        if not reached:
            return tokenizer
        tokenizer = _split_special(_load(_hide(self._form, reached), self._path))
        left = self._reached(tokenizer, self._special)
        if left:
            raise RequestError(
                f"tokenizer: {self._path}: a text that holds {sorted(left)[0]!r} literally gets its control id, and "
                "this form of model has no way to prevent it; take the token out of the model's vocabulary"
            )
        return tokenizer

    def _reached(self, tokenizer: Any, special: dict[str, int]) -> set[str]:  # noqa: ANN401  as above
        """Special tokens whose id comes out of a text that holds them literally; unknown text may be `unk`."""
        model = self._form["model"]
        unknown = model.get("unk_token")
        if unknown is None and isinstance(model.get("unk_id"), int):
            unknown = model["vocab"][model["unk_id"]][0]
        reached = set()
        for token, number in special.items():
            texts = [probe.format(token) for probe in PROBES]
            rows: Iterable[Any] = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            if token != unknown and any(number in row.ids for row in rows):
                reached.add(token)
        return reached


def _read_form(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise RequestError(f"tokenizer: no file {path}")
    try:
        form = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise RequestError(f"tokenizer: {path} is not JSON: {error}") from None
    if not isinstance(form, dict) or not isinstance(form.get("model"), dict):
        raise RequestError(f"tokenizer: {path} is no tokenizer.json: it has no `model`")
    return form


def _load(form: dict[str, Any], path: str) -> Any:  # noqa: ANN401  the package has no types
    from tokenizers import Tokenizer  # here, because only some builds need it

    try:
        tokenizer = Tokenizer.from_str(json.dumps(form, ensure_ascii=False))
    except Exception as error:  # noqa: BLE001  the package raises nothing narrower
        raise RequestError(f"tokenizer: {path} is no tokenizer that the tokenizers package reads: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _split_special(tokenizer: Any) -> Any:  # noqa: ANN401  as above
    tokenizer.encode_special_tokens = True
    return tokenizer


def _special_tokens(form: dict[str, Any]) -> list[dict[str, Any]]:
    return [token for token in form.get("added_tokens") or [] if token.get("special")]


def _hide(form: dict[str, Any], tokens: set[str]) -> dict[str, Any]:
    """The same tokenizer with other names for some entries of its vocabulary; ids and scores stay."""

    def name(token: str) -> str:
        return HIDDEN.format(token) if token in tokens else token

    model = dict(form["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {name(token): number for token, number in model["vocab"].items()}
    else:
        model["vocab"] = [[name(token), score] for token, score in model["vocab"]]
    if "merges" in model:
        pairs = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        model["merges"] = [list(pair) for pair in pairs if not {*pair, "".join(pair)} & tokens]
    added = [token | {"content": name(token["content"])} for token in form["added_tokens"]]
    return form | {"model": model, "added_tokens": added, "post_processor": None}


def _eos_of(folder: Path) -> str | None:
    for name in CONFIGS:
        if (folder / name).is_file():
            try:
                eos = json.loads((folder / name).read_bytes()).get("eos_token")
            except (ValueError, AttributeError) as error:
                raise RequestError(f"tokenizer: {folder / name} is no map in JSON: {error}") from None
            if eos is not None:
                return str(eos["content"] if isinstance(eos, dict) else eos)
    return None
