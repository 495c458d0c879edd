"""A chunk between white space split into spaCy's words, most of them without spaCy.

spaCy takes about 20 us for a chunk it has not seen; in running text 5% of all chunks are new to a memo however large.
Most are a word of plain letters with a few marks around it, such as `(word),`.
What spaCy does with the marks depends on them and on the case of the letters next to them, never on the word, unless
the word stands in one of its special cases (`cannot`, `Mr.`, `xD`). So each such shape is tried once with a word that
is in no dictionary, and what comes out is the template for the shape. At the start, templates are checked against spaCy
on a list of chunks; a language in which they fail goes without. Other chunks, and tried ones, go by spaCy's rules
(`rules.py`), and those in which its special cases may meet to spaCy.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .rules import Rules

MAX_TEMPLATES = 10_000
MAX_BEFORE, MAX_AFTER = 3, 4
"""Marks that a shape may have on either side."""
_BEFORE = "([{\"'“‘«„‚‹¿¡*—–-"
_AFTER = ".,;:?!)]}\"'”’»“‘›*…—–%-"
_PARTS = re.compile(r"[^\W\d_]+|[0-9.,]+")
_DIGITS = frozenset("0123456789")
_NUMBER = 8
"""The case of a number, beside the eight of letters: small or not of the first and the last two."""
_UNKNOWN = ("zqx", "jv", "b")  # no language's word, so in no special case
_SPLIT = 3
_CHECKED_WORDS = {
    "letters": ("word", "Word", "WORD", "wOrD", "über", "Ёлка", "слово", "naïve", "ΑΒΓ", "كتاب", "日本語", "ספר"),
    "hyphens": ("zqxjv-zqxjv", "zqxJV-zqxjv", "zqxjv-Zqxjv", "ZQXJV-ZQXJV", "Anglo-Saxon", "well-known", "über-слово"),
    "numbers": ("42", "1,160", "3.14", "2019", "10.0.0.1"),
}
_CHECKED_MARKS = (
    ("", ""), ("", "."), ("", ","), ("", ";"), ("", ":"), ("", "?"), ("", "!"), ("", "'"), ("", "..."), ("", "…"),
    ("", "—"), ("", '."'), ("", ".”"), ("", "),"), ("", "):"), ("(", ""), ("(", ")"), ("(", ")."), ('"', '"'),
    ("“", ",”"), ("'", "'"), ("‘", "’"), ("«", "»,"), ("„", "“"), ("[", "]"), ("*", "*"), ("-", "-"), ("—", "—"),
    ("", "’s"), ("", "'s,"), ("(", "’s)."), ("", "%"), ("", "%),"), ("", "%."),
)  # fmt: skip


class _Template(NamedTuple):
    """Words before and after the word of a shape."""

    before: tuple[str, ...]
    after: tuple[str, ...]


class Chunks:
    """Splits chunks as one spaCy tokenizer does."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - spaCy is optional
        self._tokenizer = _bare(tokenizer)
        self._shape, self._cased, self._lower = _letters()
        self._special = frozenset(part for rule in tokenizer.rules for part in _PARTS.findall(rule))
        self._templates: dict[tuple[str, int, str], _Template | None] = {}
        self.rules: Rules | None = None
        """spaCy's way followed without spaCy, where it leads to the same words."""
        self._hyphens = self._split_at_hyphens()
        self.shapes = frozenset(_CHECKED_WORDS)
        """Kinds of words that are spared spaCy: `letters`, `hyphens`, `numbers`."""
        self.shapes = frozenset(kind for kind in _CHECKED_WORDS if self._agrees(kind, self._by_shape))
        self._plain = "letters" in self.shapes
        rules = Rules(tokenizer)
        if all(self._agrees(kind, rules.split) for kind in _CHECKED_WORDS):
            self.rules = rules

    def split(self, chunk: str) -> Sequence[str]:
        """Give the words of a chunk, which holds no white space and is not empty."""
        if chunk.isalpha() and len(chunk) > 1 and self._plain and chunk not in self._special:
            return (chunk,)  # without marks, so that no shape need be looked for
        words = self._by_shape(chunk)
        return self._by_rules(chunk) if words is None else words

    def _by_rules(self, chunk: str) -> Sequence[str]:
        words = None if self.rules is None else self.rules.split(chunk)
        return self._by_spacy([chunk])[0] if words is None else words

    def _by_spacy(self, chunks: Sequence[str]) -> list[Sequence[str]]:
        """Split many chunks in one call: a line break is a token of its own and joins no special case."""
        texts = [token.text for token in self._tokenizer("\n".join(chunks))]
        found: list[Sequence[str]] = []
        words: list[str] = []
        for word in (*texts, "\n"):
            if word == "\n":
                found.append(words)
                words = []
            else:
                words.append(word)
        assert len(found) == len(chunks), "a chunk held white space"
        return found

    def _by_shape(self, chunk: str) -> Sequence[str] | None:
        rest = chunk.rstrip(_AFTER)
        core = rest.lstrip(_BEFORE)
        if core.isalpha() and len(core) > 1:  # most of them, and no expression is needed
            if "letters" not in self.shapes or core in self._special:
                return None
            if core is not chunk and not core.isascii() and not self._cased.issuperset(core):
                return None  # which marks spaCy splits from letters without case is not tried
            return self._marked(rest[: len(rest) - len(core)], core, (core,), chunk[len(rest) :])
        match = self._shape.fullmatch(chunk)
        if match is None:
            return None
        before, core, digits, after = match.groups()
        words: Sequence[str] = (core or digits,)
        if digits is not None:
            core, kind, parts = digits, "numbers", words
        elif "-" in core:
            kind, parts = "hyphens", core.split("-")
            words = _between(parts, "-") if self._hyphens == "split" else words
        else:
            kind, parts = "letters", words
        if kind not in self.shapes or not self._special.isdisjoint(parts):
            return None
        return self._marked(before, core, words, after)

    def _marked(self, before: str, core: str, words: Sequence[str], after: str) -> Sequence[str] | None:
        """Put the marks around the words of a core, as spaCy splits them."""
        if not before and not after:
            return words
        if len(before) > MAX_BEFORE or len(after) > MAX_AFTER + 2:
            return None
        template = self._template(before, core, after)
        return None if template is None else (*template.before, *words, *template.after)

    def _template(self, before: str, core: str, after: str) -> _Template | None:
        lower = self._lower
        case = (core[0] in lower) | (core[-2] in lower) << 1 | (core[-1] in lower) << 2
        if core[-1] in _DIGITS:
            case = _NUMBER
        key = (before, case, after)
        if key not in self._templates:
            if len(self._templates) >= MAX_TEMPLATES:
                return None
            self._templates[key] = self._try(before, case, after)
        return self._templates[key]

    def _try(self, before: str, case: int, after: str) -> _Template | None:
        first, middle, last = _UNKNOWN
        word = (first if case & 1 else first.title()) + (middle if case & 2 else middle.upper())
        word += last if case & 4 else last.upper()
        if case == _NUMBER:
            word = "67676"
        words = tuple(self._by_rules(before + word + after))
        if words.count(word) != 1:
            return None
        at = words.index(word)
        return _Template(words[:at], words[at + 1 :])

    def _split_at_hyphens(self) -> str:
        return "split" if len(self._by_spacy(["zqxjv-zqxjv"])[0]) == _SPLIT else "whole"

    def _agrees(self, kind: str, split: Callable[[str], Sequence[str] | None]) -> bool:
        chunks = [before + word + after for word in _CHECKED_WORDS[kind] for before, after in _CHECKED_MARKS]
        pairs = zip(map(split, chunks), self._by_spacy(chunks), strict=True)
        return all(found is None or tuple(found) == tuple(words) for found, words in pairs)


def _bare(tokenizer: Any) -> Any:  # noqa: ANN401 - as above
    """Give a tokenizer of the same rules with a vocabulary of its own that knows nothing about words but their letters.

    spaCy looks 15 things up about every word that is new to its vocabulary, for other parts than the tokenizer.
    """
    return type(tokenizer)(
        importlib.import_module("spacy.vocab").Vocab(),
        rules=tokenizer.rules,
        prefix_search=tokenizer.prefix_search,
        suffix_search=tokenizer.suffix_search,
        infix_finditer=tokenizer.infix_finditer,
        token_match=tokenizer.token_match,
        url_match=tokenizer.url_match,
        faster_heuristics=tokenizer.faster_heuristics,
    )


def _between(parts: Iterable[str], mark: str) -> list[str]:
    return [word for part in parts for word in (mark, part)][1:]


@functools.cache
def _letters() -> tuple[re.Pattern[str], frozenset[str], frozenset[str]]:
    """The pattern of a shape, spaCy's letters that have a case, and the small ones."""
    classes = importlib.import_module("spacy.lang.char_classes")
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x20000))))
    lower = frozenset(re.findall(f"[{classes.ALPHA_LOWER}]", every))
    upper = frozenset(re.findall(f"[{classes.ALPHA_UPPER}]", every))
    cased = "".join(sorted(char for char in lower ^ upper if char.isalpha()))
    letters = f"[{cased}]{{2,}}"
    core = f"({letters}(?:-{letters})*)|([0-9]{{2,}}|[0-9]+(?:[.,][0-9]+)+)"
    before, after = f"[{re.escape(_BEFORE)}]{{0,{MAX_BEFORE}}}", f"[{re.escape(_AFTER)}]{{0,{MAX_AFTER}}}"
    return re.compile(f"({before})(?:{core})((?:['’]s)?{after})"), frozenset(cased), lower
