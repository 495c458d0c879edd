"""A stage, its sources and its keys fit together, or the spec is refused with the line and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec

SPEC = """\
schema: 1
name: stages
sources:
  web: {files: web.jsonl}
  chat: {files: chat.jsonl, format: chat}
  pairs: {files: pairs.jsonl, format: preferences}
  rated: {files: rated.jsonl, format: ratings}
tokenizer: {train: {vocab_size: 300}}
mixtures:
  main: {chat: 100%}
train:
  stage: sft
  proxies: {nano: {tokens: 1M, global_batch_size: 8, lr: 0.001}}
"""
ACCEPTED = [
    ("sft", "{chat: 50%, web: 50%}"),
    ("sft", "{rule: proportional}"),
    ("sft", "{phases: [{until: 50%, shares: {chat: 100%}}, {until: 100%, shares: {web: 100%}}]}"),
    ("reward", "{pairs: 100%, rated: 0, chat: 0}"),
    ("reward", "{rated: 100%}"),
    ("dpo\n  init_from: start", "{pairs: 100%}"),
    ("dpo\n  init_from: start", "{rule: unimax}"),
    ("pretrain", "{pairs: 50%, web: 50%}"),
]
REFUSED = [
    ("sft", "{web: 100%}", r":12: train.stage: stage sft trains on `format: chat`, and no mixture has such a source"),
    ("sft", "{pairs: 100%}", r":10: mixtures.main.pairs: stage sft trains on .* 'pairs' has `format: preferences`"),
    ("reward", "{chat: 100%}", r":10: mixtures.main.chat: stage reward trains on .*; set its share to 0"),
    ("reward", "{web: 100%}", r":10: mixtures.main.web: .* 'web' has plain text"),
    ("reward", "{pairs: 50%, rated: 50%}", r":12: train.stage: a reward model learns from pairs or from ratings, and"),
    ("reward", "{rule: proportional}", r":12: train.stage: a reward model learns from pairs or from ratings"),
    (
        "dpo\n  init_from: start",
        "{rated: 100%}",
        r":10: mixtures.main.rated: stage dpo trains on `format: preferences`",
    ),
    (
        "dpo\n  init_from: start",
        "{phases: [{until: 50%, shares: {pairs: 1}}, {until: 100%, shares: {chat: 1}}]}",
        r":10: mixtures.main.phases\[1\].shares.chat: stage dpo trains on",
    ),
    ("rpo", "{pairs: 100%}", r"stage rpo measures answers against the checkpoint that it starts from; set `init_from`"),
    (
        "dpo\n  init_from: start\n  dpo: {label_smoothing: 50%}",
        "{pairs: 100%}",
        r":14: train.dpo.label_smoothing: at 50% both orders of a pair count the same",
    ),
    (
        "sft\n  loss_weights: {web: 2}",
        "{chat: 100%, web: 0}",
        r":13: train.loss_weights.web: has no effect, because no mixture has a share of 'web'",
    ),
    ("sfd", "{chat: 100%}", r":12: train.stage: must be 'pretrain', .* not 'sfd'; did you mean 'sft'\?"),
]


def _write(folder: Path, stage: str, mixture: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(SPEC.replace("stage: sft", f"stage: {stage}").replace("{chat: 100%}", mixture))
    return path


@pytest.mark.parametrize(("stage", "mixture"), ACCEPTED)
def test_a_stage_takes_mixtures_of_its_formats(stage: str, mixture: str, tmp_path: Path) -> None:
    assert load_spec(_write(tmp_path, stage, mixture)).spec.train.stage == stage.partition("\n")[0]


@pytest.mark.parametrize(("stage", "mixture", "said"), REFUSED)
def test_a_stage_refuses_what_it_cannot_train_on(stage: str, mixture: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        load_spec(_write(tmp_path, stage, mixture))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("vocab_size: 300}}", "vocab_size: 300}, bos: 1}", r"tokenizer.bos: must be true or false, or text .*, not 1$"),
        (
            "format: chat}",
            "format: chats}",
            r":5: sources.chat.format: must be .*, not 'chats'; did you mean 'chat'\?$",
        ),
        ("web.jsonl}", "web.jsonl, split_by: {score: s, quantiles: 3}}", None),
        ("format: chat}", "format: chat, supervise: answer}", r"not 'answer'; did you mean 'answers'\?"),
        ("tokenizer:", "dedup: {on: prompts}\ntokenizer:", None),
    ],
)
def test_one_mistake_gives_one_line(old: str, new: str, said: str | None, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.replace(old, new, 1))
    if said is None:
        load_spec(path)
        return
    with pytest.raises(SpecError, match=said) as caught:
        load_spec(path)
    assert len(str(caught.value).splitlines()) == 1


def test_cells_that_the_spec_determines_are_checked_by_name(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    text = SPEC.replace("web.jsonl}", "web.jsonl, split_by: {score: s, quantiles: 3}}")
    path.write_text(text.replace("{chat: 100%}", "{chat: 50%, web/q03: 50%}"))
    load_spec(path)
    path.write_text(text.replace("{chat: 100%}", "{chat: 50%, web/q04: 50%}"))
    with pytest.raises(SpecError, match=r":10: mixtures.main.web/q04: source 'web' has no part 'q04'; .* q01 to q03"):
        load_spec(path)


def test_prompts_are_compared_only_where_there_are_conversations(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    text = SPEC.replace("tokenizer:", "dedup: {on: prompts}\ntokenizer:").replace("stage: sft", "stage: pretrain")
    for kind in ("chat", "preferences", "ratings"):
        text = text.replace(f", format: {kind}", "")
    path.write_text(text)
    with pytest.raises(
        SpecError, match=r":8: dedup.on: prompts are compared of .*, and no source has these; remove it"
    ):
        load_spec(path)
