"""The expressions by which published byte-level tokenizers split a text into pieces."""

from __future__ import annotations

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_LOWER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
_UPPER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SIGNS_OR_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
EXPRESSIONS = {
    "llama 3": "|".join([_CONTRACTIONS, _WORD, r"\p{N}{1,3}", _SIGNS, _SPACES]),
    "qwen 2": "|".join([_CONTRACTIONS, _WORD, r"\p{N}", _SIGNS, _SPACES]),
    "o200k": "|".join(
        [f"{_LOWER}{_CONTRACTIONS}?", f"{_UPPER}{_CONTRACTIONS}?", r"\p{N}{1,3}", _SIGNS_OR_SLASH, _SPACES]
    ),
    "tekken": "|".join([_LOWER, _UPPER, r"\p{N}", _SIGNS_OR_SLASH, _SPACES]),
}
"""Expressions of published tokenizers, on which gigatoken was fuzzed without a difference."""
PATTERNS = {
    "cl100k": "|".join(
        [
            r"'(?i:[sdmt]|ll|ve|re)",
            r"[^\r\n\p{L}\p{N}]?+\p{L}++",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
            r"\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        ]
    ),
    "llama3": EXPRESSIONS["llama 3"],
    "o200k": EXPRESSIONS["o200k"],
    "qwen2": EXPRESSIONS["qwen 2"],
}
"""Patterns by name, as published: cl100k_base and o200k_base in `tiktoken_ext/openai_public.py` of tiktoken 0.12;
Llama 3 in `llama/tokenizer.py` of meta-llama/llama3; Qwen2 and 2.5 in the `tokenizer.json` of Qwen/Qwen2-7B. That of
cl100k keeps white space at the end of a text in one piece, where Llama 3's divides it after the last line break. Its
possessive `{1,3}+` is written without the `+`, which matches the same and which all engines read alike."""
