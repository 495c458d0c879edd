"""The tokenizers package as the reference of a Hugging Face `tokenizer.json`.

By default the package turns a literal `</s>` in a text into the control id. Here special tokens are split like any
other text, nothing is added around a document, and padding, truncation and BPE dropout are off. In some models
(unigram, word level) a special token is also an ordinary entry of the vocabulary, which text could still reach. Such
entries are renamed to a string that no text contains, so ids and scores stay the same. Every special token is tested
before the tokenizer may be used. Added tokens that are not special are matched literally, as the tokenizer defines.

The end of document is the `eos_token` of `tokenizer_config.json` or `special_tokens_map.json` beside the file, or the
token that the spec names; it must be a special token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mixproof.ledger.errors import RequestError

from .admission import plain_added_tokens
from .cut_rules import cuts_of_huggingface, without_prefix
from .cuts import PairCuts, Rows, encode_bounded, pieces_of
from .encoded import Encoded

TOKENIZER = "tokenizer.json"
CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")
PROBES = ("{}", "a{}b", "a {} b", "  {}\n", "{0}{0}")
HIDDEN = "\ufdd0{}\ufdd1"
"""New name of a vocabulary entry; the two noncharacters are not used in interchanged text."""


class HuggingFaceReference:
    """A `tokenizer.json` that encodes literal special tokens as ordinary text.

    Raises:
        RequestError: when the file is not a tokenizer, or a literal special token cannot be kept from giving its id.
    """

    def __init__(self, path: str) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a task has one processor
        self._path = path
        self.form = _read_form(path)
        """The parsed file, without everything that is not part of encoding a corpus."""
        self._whole = _load(self.form, path)
        self._special = {str(token["content"]): int(token["id"]) for token in _special_tokens(self.form)}
        self._tokenizer = self._made_safe()
        normalizer = self._tokenizer.normalizer
        self.cuts = cuts_of_huggingface(self.form, str if normalizer is None else normalizer.normalize_str)
        """Where long texts are cut; None: nowhere."""
        self._without_prefix = self._tokenizer
        if isinstance(self.cuts, PairCuts):
            self._without_prefix = _split_special(_load(without_prefix(self._safe_form), path))
        vocabulary: dict[str, int] = self._whole.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        """The largest id, of added tokens too, plus one."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of each text, without EODs."""
        return encode_bounded(texts, partial(_rows, self._tokenizer), self._rows_of_pieces)

    def _rows_of_pieces(self, text: str) -> Rows:
        first, *others = pieces_of(text, self.cuts)
        rows = _rows(self._tokenizer, [first])
        for piece in others:
            rows += _rows(self._without_prefix, [piece])
        return rows

    def decode(self, documents: list[list[int]]) -> list[str]:
        """The texts of lists of ids."""
        texts: list[str] = self._whole.decode_batch(documents, skip_special_tokens=False)
        return texts

    def find_eod(self, piece: str | None, file: Path) -> int:
        """The id of `piece`, or of the `eos_token` in the configuration beside `file` if `piece` is None.

        Raises:
            RequestError: when there is no such token, or it is not a special token.
        """
        token = piece if piece is not None else _named_token("eos_token", file.parent)
        if token is None:
            raise RequestError(
                f"tokenizer: no eos_token in {' or '.join(CONFIGS)} beside {file}; set its end of document with "
                f"`eod: TOKEN`; its special tokens: {self._known}"
            )
        return self._id_of(token, "eod", "end there")

    def find_bos(self, piece: str | None, file: Path) -> int:
        """The id of `piece`; if None, of the token that the tokenizer's template puts first, else of its `bos_token`.

        Raises:
            RequestError: when there is no such token, or it is not a special token.
        """
        token = piece
        if token is None:
            token = _first_of_template(json.loads(Path(self._path).read_bytes()))
        if token is None:
            token = _named_token("bos_token", file.parent)
        if token is None:
            raise RequestError(
                f"tokenizer.bos: {file} puts no token before a text, and no bos_token is in {' or '.join(CONFIGS)} "
                f"beside it; name one: `bos: TOKEN`; its special tokens: {self._known}"
            )
        return self._id_of(token, "bos", "start a new document there")

    @property
    def _known(self) -> str:
        return ", ".join(map(repr, self._special)) or "none"

    def _id_of(self, token: str, key: str, effect: str) -> int:
        if self._whole.token_to_id(token) is None:
            raise RequestError(
                f"tokenizer.{key}: the tokenizer has no token {token!r}; its special tokens: {self._known}"
            )
        if token not in self._special:
            raise RequestError(
                f"tokenizer.{key}: {token!r} is not a special token, so a text that contains it would {effect}; "
                f"set it to one of {self._known}"
            )
        return self._special[token]

    def find_added(self, piece: str) -> int | None:
        """The id of a special or added token; None if there is no such token."""
        known = piece in self._special or piece in self.added_pieces
        return int(self._whole.token_to_id(piece)) if known else None

    @property
    def special_pieces(self) -> list[str]:
        """The special tokens."""
        return list(self._special)

    @property
    def added_pieces(self) -> list[str]:
        """The added tokens that are not special."""
        return [str(token["content"]) for token in plain_added_tokens(self.form)]

    def _made_safe(self) -> Any:  # noqa: ANN401  the package has no types
        tokenizer = _split_special(self._whole)
        reached = self._reached(tokenizer, self._special)
        self._safe_form = hide_tokens(self.form, reached) if reached else self.form
        if not reached:
            return tokenizer
        tokenizer = _split_special(_load(self._safe_form, self._path))
        left = self._reached(tokenizer, self._special)
        if left:
            raise RequestError(
                f"tokenizer: {self._path}: a text that contains {sorted(left)[0]!r} gets its control id, and this kind "
                "of model has no way to prevent it; remove the token from the model's vocabulary"
            )
        return tokenizer

    def _reached(self, tokenizer: Any, special: dict[str, int]) -> set[str]:  # noqa: ANN401  as above
        """Special tokens whose id is given for a text that contains them literally; unknown text may give `unk`."""
        model = self.form["model"]
        unknown = model.get("unk_token")
        if unknown is None and isinstance(model.get("unk_id"), int):
            unknown = model["vocab"][model["unk_id"]][0]
        reached = set()
        for token, number in special.items():
            texts = [probe.format(token) for probe in PROBES]
            rows = run_encoder(tokenizer.encode_batch_fast, texts)
            if token != unknown and any(number in row.ids for row in rows):
                reached.add(token)
        return reached


def run_encoder(encode: Callable[..., Iterable[Any]], texts: Sequence[str]) -> Iterable[Any]:
    """Encode texts by a method of the tokenizers package.

    Raises:
        RequestError: when the package gives up, as on an expression that backtracks without end.
    """
    try:
        return encode(texts, add_special_tokens=False)
    except BaseException as error:  # the package's PanicException is no Exception, and no module exports it
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise RequestError(
                f"tokenizer: the tokenizers package cannot encode one of {len(texts)} texts, the first of which begins "
                f"with {texts[0][:40]!r}: {error}; if an expression of the tokenizer is at fault, write it without "
                "repetitions inside repetitions, such as (a+)+"
            ) from None
        raise


def _rows(tokenizer: Any, texts: list[str]) -> Rows:  # noqa: ANN401  the package has no types
    rows = run_encoder(tokenizer.encode_batch_fast, texts)
    return [np.array(row.ids, np.int32) for row in rows]


def _read_form(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise RequestError(f"tokenizer: no file {path}; correct the path in the spec")
    try:
        form = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise RequestError(f"tokenizer: {path} is not JSON: {error}") from None
    if not isinstance(form, dict) or not isinstance(form.get("model"), dict):
        raise RequestError(f"tokenizer: {path} is not a tokenizer.json: it has no `model`")
    return for_encoding(form)


def for_encoding(form: dict[str, Any]) -> dict[str, Any]:
    """A `tokenizer.json` without what belongs to training or to a model's input rather than to encoding a corpus.

    Random encoding (BPE dropout, sampling of unigram models), padding, truncation and the tokens that a post-processor
    adds around a text are off.
    """
    model = {name: value for name, value in form["model"].items() if name not in ("alpha", "nbest_size")}
    if "dropout" in model:
        model["dropout"] = None
    return form | {"model": model, "post_processor": None, "padding": None, "truncation": None}


def _load(form: dict[str, Any], path: str) -> Any:  # noqa: ANN401  the package has no types
    from tokenizers import Tokenizer  # here, because only some builds need it

    try:
        tokenizer = Tokenizer.from_str(json.dumps(form, ensure_ascii=False))
    except Exception as error:  # noqa: BLE001  the package raises nothing narrower
        raise RequestError(f"tokenizer: the tokenizers package cannot read {path}: {error}") from None
    return tokenizer


def _split_special(tokenizer: Any) -> Any:  # noqa: ANN401  as above
    tokenizer.encode_special_tokens = True
    return tokenizer


def _special_tokens(form: dict[str, Any]) -> list[dict[str, Any]]:
    return [token for token in form.get("added_tokens") or [] if token.get("special")]


def hide_tokens(form: dict[str, Any], tokens: set[str]) -> dict[str, Any]:
    """The same tokenizer with some of its tokens renamed by `HIDDEN`; ids and scores stay the same."""

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
    if model.get("unk_token") is not None:
        model["unk_token"] = name(model["unk_token"])
    added = [token | {"content": name(token["content"])} for token in form.get("added_tokens") or []]
    return form | {"model": model, "added_tokens": added}


def _first_of_template(form: dict[str, Any]) -> str | None:
    """The special token that the post-processor, or a part of it, puts before a text; None: none."""
    processor = form.get("post_processor") or {}
    for part in processor.get("processors", [processor]):
        single = part.get("single") if part.get("type") == "TemplateProcessing" else None
        if single and "SpecialToken" in single[0]:
            return str(single[0]["SpecialToken"]["id"])
    return None


def _named_token(key: str, folder: Path) -> str | None:
    for name in CONFIGS:
        if (folder / name).is_file():
            try:
                token = json.loads((folder / name).read_bytes()).get(key)
            except (ValueError, AttributeError, RecursionError) as error:
                raise RequestError(f"tokenizer: {folder / name} is not a JSON object: {error}") from None
            if token is not None:
                return str(token["content"] if isinstance(token, dict) else token)
    return None
