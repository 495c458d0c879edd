"""The splitter of each language: exactly the words of datatrove's tokenizers, found once for all steps.

datatrove runs spaCy on every text, which takes 91% of its filters' time. For languages that spaCy splits by rules, a
memo gives the same words (`memo.py`). Other languages (Chinese, Japanese, Thai, Korean ...) use datatrove's tokenizer
itself, at its speed.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from mixproof.ledger.errors import RequestError

from .memo import MemoSplitter
from .splitter import Splitter

BY_RULES = frozenset({"en", "de", "es", "fr", "it", "nl", "pt"})
"""Languages that spaCy splits without further packages."""


class NoWordsError(RequestError):
    """No tokenizer for a language is installed."""


def check_splitter(language: str) -> None:
    """Check that a language has a splitter; of BY_RULES, it is not loaded, because importing spaCy takes a second.

    Raises:
        NoWordsError: as `splitter_of`.
    """
    if language not in BY_RULES or not all(importlib.util.find_spec(name) for name in ("datatrove", "spacy")):
        splitter_of(language)


def splitter_of(language: str) -> Splitter:
    """The splitter of a language, by datatrove's codes (`en` or `eng`).

    Raises:
        NoWordsError: when datatrove has no tokenizer for it, or a package for it is not installed.
    """
    found = _splitter_or_fault(language)
    if isinstance(found, str):
        raise NoWordsError(f"no word tokenizer for {language!r}: {found}")
    return found


@functools.cache
def _splitter_or_fault(language: str) -> Splitter | str:
    try:
        tokenizers = importlib.import_module("datatrove.utils.word_tokenizers")
        with _without_torch():
            tokenizer = tokenizers.load_word_tokenizer(_code_of(language))
            tokenizer.word_tokenize("words")  # loads what it needs
    except ValueError:
        return "datatrove does not know this language; use a code of two or three letters such as `en` or `deu`"
    except (ImportError, LookupError, OSError) as error:
        return f"{error}; install the package that it names"
    rules = getattr(tokenizer, "tokenizer", None)
    if type(getattr(rules, "tokenizer", None)).__module__ == "spacy.tokenizer":
        return MemoSplitter(tokenizer)
    return Splitter(tokenizer)


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Let spaCy find no torch, unless this process has loaded it already.

    spaCy loads torch where it is installed, for models that splitting by rules does not use: 1.2 CPU seconds and 180 MB
    in every process.
    """
    if "torch" in sys.modules or "spacy" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` raise ImportError
    try:
        yield
    finally:
        del sys.modules["torch"]


def _code_of(language: str) -> str:
    """Datatrove's code for a language in its default script: `cmn_Hani` for `zh`, `eng_Latn` for `en`.

    Without a script, datatrove uses the last one in its table: Latin letters for Chinese, Hindi and Arabic.
    """
    label = language.replace("_", "-").partition("-")[0].lower()
    for row in _assignments():
        named = row["code_3"] == label or (row["code_1"] == label and row["default_code_1"] == "TRUE")
        if named and row["default_script"] == "TRUE" and row["type"]:
            return f"{row['code_3']}_{row['script']}"
    return language


@functools.cache
def _assignments() -> list[dict[str, str]]:
    assets = importlib.import_module("datatrove.utils._import_utils").ASSETS_PATH
    with (Path(assets) / "tokenizer_assignment.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
