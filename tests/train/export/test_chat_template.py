"""Exported chat templates: `apply_chat_template` of transformers gives the ids and the mask of the build."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from mixproof.mixtures.values.chat_templates import SHIPPED
from mixproof.pipeline.chat.messages import Message
from mixproof.pipeline.chat.template import render
from mixproof.tokenize.tokenizer.masked import Conversation, MaskedEncoder
from mixproof.train.export.chat_template import (
    ChatTemplates,
    check_chat_templates,
    write_chat_templates,
    writes_control_tokens,
)
from mixproof.train.export.huggingface_tokenizer import write_tokenizer

CONTROLS = ["<|im_start|>", "<|im_end|>"]
LINES = [f"The user asked {number} things, and the assistant answered: {number * 7}." for number in range(99)]
OWN = (
    "{% for m in messages %}{{ '<|im_start|>' if m.role == 'user' else '# ' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content | trim }}<|im_end|>{% endgeneration %}{% else %}"
    "{{ m.content }}{% endif %}{% endfor %}"
)
TALK = (
    Message("user", "The things: 7 naïve 蟻?"),
    Message("assistant", " Answered 14.\n\tAnd more "),
    Message("user", "More"),
    Message("assistant", "The user asked."),
)


def _sentencepiece(folder: Path) -> Path:
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, vocab_size=300, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, control_symbols=CONTROLS, num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    path = folder / "tok.model"
    path.write_bytes(model.getvalue())
    return path


def _byte_level(folder: Path) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "</s>", *CONTROLS]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(params=[_sentencepiece, _byte_level])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tokenizer with ids 1 and 2 for the start and the end of a document, and two control tokens."""
    make: Callable[[Path], Path] = request.param
    (tmp_path / "given").mkdir()
    return make(tmp_path / "given")


def _exported(templates: ChatTemplates, tokenizer: Path, folder: Path) -> Any:  # noqa: ANN401  no types
    folder.mkdir()
    bos, eod = (1, 2) if tokenizer.suffix == ".model" else (0, 1)
    control = writes_control_tokens(templates, tokenizer)
    write_tokenizer(tokenizer, eod, folder, bos if templates.bos else None, control_tokens=control)
    write_chat_templates(templates, folder)
    check = check_chat_templates(templates, folder, tokenizer, bos if templates.bos else None)
    assert (check.different, check.example) == (0, "") and check.conversations >= 2
    assert check.generation_prompt == (OWN not in templates.by_source.values())
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("template", [SHIPPED["plain"], SHIPPED["chatml"], OWN])
def test_transformers_renders_the_ids_and_the_mask_that_were_trained_on(
    template: str, bos: bool, tokenizer: Path, tmp_path: Path
) -> None:
    loaded = _exported(ChatTemplates({"chat": template}, "chat", bos), tokenizer, tmp_path / "out")
    rendering = render(template, TALK)
    conversation = Conversation(rendering.text, rendering.generated, rendering.contents)
    ours = MaskedEncoder(str(tokenizer)).encode([conversation])[0]
    given = [message._asdict() for message in TALK]
    theirs = loaded.apply_chat_template(given, return_dict=True, return_assistant_tokens_mask=True)
    assert theirs["input_ids"] == [*([loaded.bos_token_id] if bos else []), *ours.ids.tolist()]
    if not bos and tokenizer.suffix == ".json":  # offsets of a converted SentencePiece model have a space more
        assert theirs["assistant_masks"] == ours.mask.tolist()
    control = {loaded.convert_tokens_to_ids(token) for token in CONTROLS}
    assert bool(control & set(theirs["input_ids"])) == (template != SHIPPED["plain"])


def test_a_literal_control_token_stays_text_as_in_training(tokenizer: Path, tmp_path: Path) -> None:
    messages = (Message("user", "a <|im_end|> b"), Message("assistant", "no"))
    given = [message._asdict() for message in messages]
    for name, options in {"plain": {}, "chatml": {"sanitize_control_tokens": True}}.items():
        template = SHIPPED[name]  # type: ignore[index]  # the names of shipped templates
        loaded = _exported(ChatTemplates({"chat": template}, "chat", False), tokenizer, tmp_path / name)
        rendering = render(template, messages)
        conversation = Conversation(rendering.text, rendering.generated, rendering.contents)
        ours = MaskedEncoder(str(tokenizer)).encode([conversation])[0].ids.tolist()
        theirs = loaded.apply_chat_template(given, return_dict=False, **options)
        assert theirs.count(loaded.convert_tokens_to_ids("<|im_end|>")) == (0 if name == "plain" else 2)
        assert theirs == ours


def test_templates_of_other_sources_are_named_by_them(tokenizer: Path, tmp_path: Path) -> None:
    templates = ChatTemplates({"a/b": SHIPPED["plain"], "c": OWN, "d": SHIPPED["plain"]}, "d", False)
    loaded = _exported(templates, tokenizer, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "additional_chat_templates").iterdir()) == ["c.jinja"]
    given = [message._asdict() for message in TALK]
    assert loaded.apply_chat_template(given, tokenize=False) == render(SHIPPED["plain"], TALK).text
    assert loaded.apply_chat_template(given, tokenize=False, chat_template="c") == render(OWN, TALK).text
