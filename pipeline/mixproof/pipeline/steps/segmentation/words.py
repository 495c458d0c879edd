"""The splitter of each language: words exactly as datatrove's tokenizers find them, found once for all steps.

datatrove runs spaCy on every text, 91% of its filters' time. Where spaCy splits by rules, a memo gives the same words
(`memo.py`). Languages that it does not split by rules (Chinese, Japanese, Thai, Korean ...) go to datatrove's own
tokenizer whole, with its speed.
"""

from __future__ import annotations

import csv
import functools
import importlib
from pathlib import Path

from mixproof.ledger.errors import RequestError

from .memo import MemoSplitter
from .splitter import Splitter


class NoWordsError(RequestError):
    """Nothing installed here splits a language into words."""


def splitter_of(language: str) -> Splitter:
    """Give the splitter of a language, by the codes that datatrove knows (`en` or `eng`).

    Raises:
        NoWordsError: when datatrove has no tokenizer for it, or the package it needs is not installed.
    """
    found = _splitter_or_fault(language)
    if isinstance(found, str):
        raise NoWordsError(f"no words in {language!r}: {found}")
    return found


@functools.cache
def _splitter_or_fault(language: str) -> Splitter | str:
    try:
        tokenizers = importlib.import_module("datatrove.utils.word_tokenizers")
        tokenizer = tokenizers.load_word_tokenizer(_code_of(language))
        tokenizer.word_tokenize("words")  # loads what it needs
    except ValueError:
        return "datatrove knows no such language; give a code of two or three letters such as `en` or `deu`"
    except (ImportError, LookupError, OSError) as error:
        return f"{error}; install what it names"
    rules = getattr(tokenizer, "tokenizer", None)
    if type(getattr(rules, "tokenizer", None)).__module__ == "spacy.tokenizer":
        return MemoSplitter(tokenizer)
    return Splitter(tokenizer)


def _code_of(language: str) -> str:
    """Give the code by which datatrove knows a language in its own script: `cmn_Hani` for `zh`, `eng_Latn` for `en`.

    Without a script datatrove takes the last one in its table: Latin letters for Chinese, Hindi and Arabic.
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
