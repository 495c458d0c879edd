"""Small tokenizers in the forms of well-known ones, with added tokens in every setting, and texts to fuzz them with.

The forms (normalizer, pre-tokenizer expression, model options) are those of the published tokenizers; vocabularies are
trained on a few hundred kilobytes.
"""

from __future__ import annotations

import io
import json
import pydoc_data.topics
import random
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceTrainer
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from mixproof.tokenize.tokenizer.hard_texts import ALPHABETS, CODE, MARKS, SCRIPTS, SPACES
from mixproof.tokenize.tokenizer.patterns import EXPRESSIONS

TEXTS = [*dict.fromkeys(str(text) for text in pydoc_data.topics.topics.values())][:40] + SCRIPTS * 5 + MARKS * 5
LLAMA3, QWEN, O200K, TEKKEN = (EXPRESSIONS[name] for name in ("llama 3", "qwen 2", "o200k", "tekken"))


@dataclass(frozen=True)
class Form:
    """One tokenizer: how it is made, and the literal pieces that texts should contain."""

    name: str
    make: Callable[[Path], Path]
    """Writes the tokenizer into a folder; returns the path of its file."""
    pieces: Sequence[str] = field(default=())


def _byte_level(expression: str | None, **options: Any) -> Tokenizer:  # noqa: ANN401  options of the model
    tokenizer = Tokenizer(models.BPE(**options))
    if expression is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(expression), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, special_tokens=special, show_progress=False),
    )
    return tokenizer


def _gpt2() -> Tokenizer:
    return _byte_level(None)


def _gpt2_prefix() -> Tokenizer:
    tokenizer = _byte_level(None)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def _llama3() -> Tokenizer:
    return _byte_level(LLAMA3, ignore_merges=True)


def _qwen() -> Tokenizer:
    tokenizer = _byte_level(QWEN)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _o200k() -> Tokenizer:
    return _byte_level(O200K)


def _tekken() -> Tokenizer:
    return _byte_level(TEKKEN, ignore_merges=True)


def _neox() -> Tokenizer:
    tokenizer = _byte_level(None)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _deepseek() -> Tokenizer:
    tokenizer = _byte_level(LLAMA3)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+"), "isolated"),
            pre_tokenizers.Split(Regex(r"[一-龥ࠀ-一가-퟿]+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _llama2() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106  no password
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    lines = (line for text in TEXTS for line in text.split(" "))
    tokenizer.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=900, special_tokens=special, limit_alphabet=150, show_progress=False)
    )
    form = json.loads(tokenizer.to_str())
    form["added_tokens"] = form["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(form))


def _bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _t5() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>", *(f"<extra_id_{number}>" for number in range(20))]
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False)  # noqa: S106
    tokenizer.train_from_iterator(TEXTS[:10] + SCRIPTS, trainer)
    return tokenizer


BASES: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": _gpt2,
    "gpt2-prefix": _gpt2_prefix,
    "llama3": _llama3,
    "qwen": _qwen,
    "o200k": _o200k,
    "tekken": _tekken,
    "neox": _neox,
    "deepseek": _deepseek,
    "llama2": _llama2,
    "bert": _bert,
    "t5": _t5,
}
WORDS = ["river", "<w>", "CAFÉ", "foo bar", "é", "\u212b", "日本", "  ", "\t", "\n\n", "<a", "<a>", "<a>b", "🏽"]
MANY = [f"<|reserved_{number}|>" for number in range(260)]
ADDED: dict[str, list[AddedToken]] = {
    "none": [],
    "special": [AddedToken(token, special=True) for token in (*MANY, "<|im_start|>", "é|")],
    "plain": [AddedToken(token, normalized=False) for token in WORDS],
    "normalized": [AddedToken(token, normalized=True) for token in WORDS],
    "single_word": [
        *(AddedToken(token, special=True) for token in MANY),
        *(AddedToken(token, single_word=True, normalized=False) for token in WORDS[:6]),
    ],
    "ascii": [
        *(AddedToken(token, normalized=False) for token in ("<tool_call>", "<|K|>", "river", "`")),
        *(AddedToken(token, normalized=True) for token in ("a;b", "KK", "</think>", "up")),
    ],
    "stripping": [
        AddedToken("<l>", lstrip=True, normalized=False),
        AddedToken("<r>", rstrip=True, normalized=True),
        AddedToken("<lr>", lstrip=True, rstrip=True, single_word=True),
    ],
}
HF_FORMS = (
    *((base, "none") for base in BASES),
    *((base, "special") for base in ("gpt2", "llama3", "qwen", "tekken", "llama2")),
    *((base, "plain") for base in ("gpt2", "llama3", "qwen", "o200k", "llama2", "bert", "t5")),
    *((base, "normalized") for base in ("gpt2", "qwen", "neox", "llama2", "t5")),
    *((base, "single_word") for base in ("gpt2", "llama3", "qwen", "llama2")),
    *((base, "ascii") for base in ("gpt2-prefix", "qwen", "neox", "llama2")),
    *((base, "stripping") for base in ("gpt2", "tekken", "qwen", "bert")),
)
CONFUSED = [
    *("rivers", "upriver", "CAFE\u0301", "The quick", "don't", "DON'T", "we'Ll", "ＫK"),
    *("a\u037eb", "\u212a", "<|\u212a|>", "\u1fef"),  # NFC makes ASCII characters of these
]
IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
SENTENCEPIECE: dict[str, dict[str, Any]] = {
    "sp-llama2": IDENTITY,
    "sp-plain": IDENTITY | {"add_dummy_prefix": False},
    "sp-user": IDENTITY | {"user_defined_symbols": WORDS[:6]},
    "sp-overlapping": {"user_defined_symbols": ["<a", "<a>", "<a>b", "  "], "add_dummy_prefix": False},
    "sp-nfkc": {"user_defined_symbols": ["CAFÉ", "river"]},
    "sp-casefold": {"normalization_rule_name": "nmt_nfkc_cf", "control_symbols": MANY[:70]},
    "sp-t5": {"model_type": "unigram", "byte_fallback": False},
}


@lru_cache
def _trained(base: str) -> str:
    return str(BASES[base]().to_str())


def all_forms() -> list[Form]:
    """About 40 tokenizers."""
    forms = [_huggingface_form(base, added) for base, added in HF_FORMS]
    return forms + [_sentencepiece_form(name, settings) for name, settings in SENTENCEPIECE.items()]


def _huggingface_form(base: str, added: str) -> Form:
    def make(folder: Path) -> Path:
        tokenizer = Tokenizer.from_str(_trained(base))
        tokenizer.add_tokens(ADDED[added])
        path = folder / f"{base}-{added}" / "tokenizer.json"
        path.parent.mkdir()
        tokenizer.save(str(path))
        return path

    pieces = [str(token.content) for token in ADDED[added]]
    return Form(f"{base}-{added}", make, ["<|endoftext|>", "</s>", "[MASK]", *pieces[:5], *pieces[-14:]])


def _sentencepiece_form(name: str, settings: dict[str, Any]) -> Form:
    def make(folder: Path) -> Path:
        model = io.BytesIO()
        defaults: dict[str, Any] = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 900, "minloglevel": 2}
        lines = (line for text in TEXTS for line in text.splitlines())
        SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=model, hard_vocab_limit=False, **(defaults | settings)
        )
        path = folder / f"{name}.model"
        path.write_bytes(model.getvalue())
        return path

    pieces = [*settings.get("user_defined_symbols", ()), *settings.get("control_symbols", ())[-3:]]
    return Form(name, make, ["<s>", "</s>", "<unk>", *pieces])


def texts_for(form: Form, count: int, seed: int) -> list[str]:
    """Random texts of 1 to 24 fragments: added tokens in several spellings, marks, scripts, code, any character."""
    chance = random.Random(f"{form.name} {seed}")  # noqa: S311  test data, not a secret
    return ["".join(_fragment(form, chance) for _ in range(chance.randint(1, 24))) for _ in range(count)]


def _fragment(form: Form, chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.3:
        return _spelled(chance.choice(form.pieces), chance)
    if kind < 0.45:
        return chance.choice(["\u0301", "\u0327", "\u200d", "\ufe0f", " ", "  ", "\n", "s", "up", "0", ".", "_"])
    if kind < 0.8:
        return chance.choice(chance.choice([*ALPHABETS, SPACES, MARKS, SCRIPTS]))
    if kind < 0.9:
        return chance.choice(
            [
                *CODE,
                "rivers",
                "upriver",
                "CAFE\u0301",
                "The quick",
                "don't",
                "DON'T",
                "we'Ll",
                "a\u037eb",
                "\u212a",
                "<|\u212a|>",
                "\u1fef",
            ]
        )
    while (code := chance.choice([chance.randrange(0x3000), chance.randrange(0x20000)])) in range(0xD800, 0xE000):
        pass
    return chr(code)


def _spelled(piece: str, chance: random.Random) -> str:
    change = chance.randrange(9)
    if change < 2:
        return unicodedata.normalize(("NFC", "NFD")[change], piece)
    if change == 2:
        return piece[: chance.randint(0, len(piece))]
    if change == 3:
        return piece[chance.randint(0, len(piece)) :]
    if change == 4:
        return chance.choice([piece.lower(), piece.upper(), piece.title()])
    return piece
