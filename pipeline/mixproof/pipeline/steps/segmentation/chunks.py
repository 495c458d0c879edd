"""Split chunks between white space into spaCy's words, most of them without spaCy.

spaCy takes about 20 us for a new chunk, and 5% of the chunks of running text are new to a memo of any size. Most are a
word of plain letters with a few marks around it, such as `(word),`. How spaCy splits off the marks depends on the marks
and on the case of the adjacent letters, not on the word, unless the word is part of a special case (`cannot`, `Mr.`,
`xD`). So each such shape is split once with a made-up word, and the result is the template for the shape. Templates are
checked against spaCy on a list of chunks when a language is loaded; if they differ, the language does not use them.
Other chunks are split by spaCy's rules (`rules.py`), and those in which special cases may overlap by spaCy itself.

Difference from spaCy: in a chunk of more than 256 characters in which special cases overlap, the first of them counts;
where a language's rules cannot be followed without spaCy, such a chunk is split in pieces of 256 characters. A chunk of
more than 2,048 characters is not a URL. spaCy takes seconds for a few thousand quotes or brackets in a row.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .rules import Rules

MAX_TEMPLATES = 10_000
MAX_SPACY_CHARS = 256
"""Longer chunks are not given to spaCy, whose time grows with the square of a chunk's length."""
MAX_BEFORE, MAX_AFTER = 3, 4
"""Maximum number of marks on either side of a shape."""
_BEFORE = "([{\"'“‘«„‚‹¿¡*—–-"
_AFTER = ".,;:?!)]}\"'”’»“‘›*…—–%-"
_PARTS = re.compile(r"[^\W\d_]+|[0-9.,]+")
_DIGITS = frozenset("0123456789")
_NUMBER = 8
"""The case of a number; letters have eight cases: lower or not, for the first and the last two."""
_UNKNOWN = ("zqx", "jv", "b")  # in no language's dictionary, so in no special case
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
    """Tokens before and after the word of a shape."""

    before: tuple[str, ...]
    after: tuple[str, ...]


class Chunks:
    """Splits chunks exactly like a given spaCy tokenizer."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - spaCy is optional
        self._tokenizer = _bare(tokenizer)
        self._shape, self._cased, self._lower = _letters()
        self._special = frozenset(part for rule in tokenizer.rules for part in _PARTS.findall(rule))
        self._templates: dict[tuple[str, int, str], _Template | None] = {}
        self.rules: Rules | None = None
        """spaCy's rules without spaCy, if they give the same words."""
        self._hyphens = self._split_at_hyphens()
        self.shapes = frozenset(_CHECKED_WORDS)
        """Kinds of words that have templates: `letters`, `hyphens`, `numbers`."""
        self.shapes = frozenset(kind for kind in _CHECKED_WORDS if self._agrees(kind, self._by_shape))
        self._plain = "letters" in self.shapes
        rules = Rules(tokenizer)
        if all(self._agrees(kind, rules.split) for kind in _CHECKED_WORDS):
            self.rules = rules

    def split(self, chunk: str) -> Sequence[str]:
        """The words of a chunk, which holds no white space and is not empty."""
        if chunk.isalpha() and len(chunk) > 1 and self._plain and chunk not in self._special:
            return (chunk,)  # no marks, so no template is needed
        words = self._by_shape(chunk)
        return self._by_rules(chunk) if words is None else words

    def _by_rules(self, chunk: str) -> Sequence[str]:
        words = None if self.rules is None else self.rules.split(chunk)
        if words is not None:
            return words
        if len(chunk) <= MAX_SPACY_CHARS:
            return self._by_spacy([chunk])[0]
        if self.rules is not None:
            return self.rules.split_long(chunk)
        pieces = [chunk[start : start + MAX_SPACY_CHARS] for start in range(0, len(chunk), MAX_SPACY_CHARS)]
        return [word for words in self._by_spacy(pieces) for word in words]

    def _by_spacy(self, chunks: Sequence[str]) -> list[Sequence[str]]:
        """Split many chunks in one call: a line break is always a token of its own."""
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
        head = chunk.rstrip(_AFTER)
        core = head.lstrip(_BEFORE)
        if core.isalpha() and len(core) > 1:  # the common case, without a regular expression
            if "letters" not in self.shapes or core in self._special:
                return None
            if core is not chunk and not core.isascii() and not self._cased.issuperset(core):
                return None  # templates are not tried for letters without case
            return self._marked(head[: len(head) - len(core)], core, (core,), chunk[len(head) :])
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
        """Add the marks around the words of a core, as spaCy splits them."""
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
    """A tokenizer with the same rules and an empty vocabulary.

    spaCy looks up 15 attributes of every word that is new to its vocabulary, which the tokenizer does not use.
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
    """The pattern of a shape, spaCy's letters that have a case, and those in lower case."""
    classes = importlib.import_module("spacy.lang.char_classes")
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x20000))))
    lower = frozenset(re.findall(f"[{classes.ALPHA_LOWER}]", every))
    upper = frozenset(re.findall(f"[{classes.ALPHA_UPPER}]", every))
    cased = "".join(sorted(char for char in lower ^ upper if char.isalpha()))
    letters = f"[{cased}]{{2,}}"
    core = f"({letters}(?:-{letters})*)|([0-9]{{2,}}|[0-9]+(?:[.,][0-9]+)+)"
    before, after = f"[{re.escape(_BEFORE)}]{{0,{MAX_BEFORE}}}", f"[{re.escape(_AFTER)}]{{0,{MAX_AFTER}}}"
    return re.compile(f"({before})(?:{core})((?:['’]s)?{after})"), frozenset(cased), lower
