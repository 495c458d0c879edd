"""Texts on which tokenizers differ; an engine must encode all of them as the reference does before it is used.

White space of every kind, control characters, literal control and byte pieces, combining marks, joiners, scripts
without spaces, compatibility forms, long words and repetitions, code, random mixtures of them from a fixed seed, and
every special and added token of the tokenizer in all positions and spellings. Equality on these is evidence, not proof,
so a build encodes a sample of its own documents with the reference too.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

SPACES = [
    "", " ", "  ", " a", "  a", "a ", "a  ", "a  b", "a   b    c", "\t", "\ta\t\tb", " \t a", "\n", "\n\n", " \n ",
    "a\nb\n", "\r\n", "a\r\nb", "a\rb", "\n a", "a\n ", "   \n   \n", "a\u00a0b", "a\u00a0\u00a0b", "\u3000a",
    "a\u3000b", "a\u2003b", "\u2009 a", "a\u200bb", "\u200b", "a\u2028b", "a\u2029b", "a\x85b", "\x85", "a\u202fb",
    "a\u1680b", "\u180ea", "\u2060a", "\u00ada",
]  # fmt: skip
CONTROLS = [
    "\x00", "a\x00b", "a \x00 b", "\x01", "a\x01b", "\x1b[0m x", "a\x7fb", "\x0ba", "a\x0cb", "\x1f\x1e x", "\ufeffa",
    "a\ufeffb", "\ufffd", "a\ufffd\ufffdb", "\uffff", "\U0010ffff",
]  # fmt: skip
PIECES = [
    "<s>", "</s>", "a<s>b", "a <s> b", "<s> hello</s>", "</s>\n", "  <s>  x", "<s", "s>", "<s><s>", "<unk>", "a<unk>b",
    " <unk> ", "<pad>", "<mask> x", "<0x0A>", "x<0x0A>y", "<0xE2><0x96><0x81>", "<0xFF>", "\u2581", "a\u2581b",
    "\u2581a", "a\u2581", "a \u2581b", "\u2581\u2581a", " \u2581", "<|im_start|>", "a <|endoftext|> b",
]  # fmt: skip
MARKS = [
    "e\u0301", "cafe\u0301 ole\u0301", "\u0301", "a\u0301\u0302\u0303", "\u0338=", "q\u0307\u0323", "A\u030a", "\u212b",
    "\u1100\u1161\u11a8", "\uac00", "\u304b\u3099", "\u30ab\u309b", "a\u200db", "\u200d", "\ufe0f", "👍🏽",
    "\u1ae5\u094d", "\u08cf\u0327", "👩\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈", "🇩🇪🇫🇷", "क्\u200dष",
]  # fmt: skip
SCRIPTS = [
    "日本語のテスト。", "中文分词 测试", "한국어 텍스트", "ｱｲｳｶﾞﾊﾟ", "ＡＢＣ１２３", "㍿㌔", "〜～", "“”‘’…", "שלום עולם",
    "مرحبا بالعالم", "السّلام", "ﷺ", "हिन्दी", "தமிழ்", "ไทยคำ", "ខ្មែរ", "ﬁ ﬂ ffi", "½ ¼ ²", "Ⅳ ⅷ", "℃ ™", "ª º µ",
    "ĳ ŉ ſ", "İı ß ẞ ΑΣ", "𝕳𝖊𝖑𝖑𝖔", "\U00020000\U0002a6d6", "∑∫√≠≤", "Ünïcödé — naïve façade",
]  # fmt: skip
LONG = ["a" * 5000, "ab" * 3000, "x" * 300 + " " + "y" * 300, "0" * 2000, "=" * 500, "日" * 1000, "a\u0301" * 400]
CODE = [
    "def f(x):\n    return x+1\n", "\tif (a&&b) {\n\t\treturn;\n\t}\n", '{"a": [1, 2,  3]}',
    "<html><s>strike</s></html>", 'a.b,c"d)e;f:g!h?i', "x  ,y  .z", ")))", '"""doc"""',
    "The quick brown fox jumps over 13 lazy dogs!?",
]  # fmt: skip
ALPHABETS = [
    [
        " ",
        "  ",
        "\n",
        "\t",
        "a",
        "the",
        "ing",
        ".",
        ",",
        ")",
        "\u00a0",
        "\u3000",
        "\u0301",
        "é",
        "日",
        "ア",
        "ﾟ",
        "👍",
        "🏽",
        "0",
    ],
    ["<", "s", ">", "/", "<s>", "</s>", "<unk>", "<0x", "0A>", "<0x0A>", " ", "\u2581", "\n", "a", "0"],
    ["a", "b"],
    ["aaa", "---", "===", "   ", "ab", "#", "é", "日日", "00"],
]


AROUND_SPECIAL = ("{}", "a{}b", "a {} b", "  {}  ", "{0}{0}")
"""Positions of a special token, which is ordinary text and never matched."""
AROUND_ADDED = (
    *("{}", "a{}", "{}b", "a{}b", "a {} b", "  {}  ", "\n{}\n", "\t{}\t", "1{}2", "_{}_", ".{}.", "({})"),
    *("{0}{0}", "{0} {0}", "{}s and", "up{}", "é{}é", "日{}本", "{}\u0301", "\u0301{}", "a\u0327{}\u0301b"),
    *("\u00a0{}\u00a0", "{}\u200d{}"),
)
"""Positions of an added token: alone, at edges, inside words, doubled, next to digits, marks, joiners and scripts."""
AROUND_SPELLING = ("{}", "a {} b", "a{}b", "{}\u0301")
MAX_PAIRED = 24
"""Up to this many added tokens are tried in all ordered pairs; more only with their neighbors in order and alphabet."""


def hard_texts(special: Sequence[str], added: Sequence[str] = (), mixtures: int = 300) -> list[str]:
    """The test texts for a tokenizer.

    Args:
        special: special, control and unknown pieces; a text that contains one literally must not give its id.
        added: added and user-defined pieces, which are matched in text.
        mixtures: number of random texts per alphabet.
    """
    chance = random.Random(7)  # noqa: S311  test data, not a secret
    texts = [*SPACES, *CONTROLS, *PIECES, *MARKS, *SCRIPTS, *LONG, *CODE]
    texts += [around.format(piece) for piece in special for around in AROUND_SPECIAL]
    texts += [text for piece in added for text in added_token_texts(piece)]
    texts += [f"{first}{between}{second}" for first, second in _pairs(added) for between in ("", " ", "a", "\u0301")]
    pieces = [*special, *added]
    for alphabet in [*ALPHABETS, [*pieces, " ", "a", "\n"], [*added, "a", " ", "\u0301", "s", "é"]]:
        texts += ["".join(chance.choices(alphabet, k=chance.randint(1, 25))) for _ in range(mixtures)]
    return texts


def added_token_texts(piece: str) -> Iterator[str]:
    """An added token in all positions, and its other spellings (normalized, cased, cut) in some."""
    yield from (around.format(*[piece] * 2) for around in AROUND_ADDED)
    spellings = {unicodedata.normalize(form, piece) for form in ("NFC", "NFD", "NFKC")}
    spellings |= {piece.lower(), piece.upper(), piece.title(), piece[:-1], piece[1:], piece.replace(" ", "\u2581")}
    for spelling in sorted(spellings - {piece}):
        yield from (around.format(spelling) for around in AROUND_SPELLING)


def _pairs(added: Sequence[str]) -> list[tuple[str, str]]:
    if len(added) <= MAX_PAIRED:
        return [(first, second) for first in added for second in added]
    neighbors = [pair for pieces in (added, sorted(added)) for pair in pairwise(pieces)]
    return [*neighbors, *((second, first) for first, second in neighbors)]
