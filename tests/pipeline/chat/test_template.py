"""Templates render conversations; spans come from the rendering, and nothing else is supervised."""

from __future__ import annotations

from typing import get_args

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.source import Supervise
from mixproof.mixtures.values.chat_templates import CHATML, PLAIN
from mixproof.pipeline.chat.conversations import ConversationRule, conversation
from mixproof.pipeline.chat.marks import Marks
from mixproof.pipeline.chat.messages import FaultError, Message
from mixproof.pipeline.chat.template import check_template, render
from mixproof.pipeline.record import Raw

TURNS = (
    Message("system", "Be short."),
    Message("user", " 2 + 2?\n"),
    Message("assistant", "4"),
    Message("user", "Assistant: 5"),
    Message("assistant", "No."),
)


def _raw(**fields: object) -> Raw:
    return Raw(0, None, b"", fields)


def test_the_plain_template_supervises_answers_with_their_leading_blank() -> None:
    found = render(PLAIN, TURNS)
    assert found.text == (
        "System: Be short.\n\nUser:  2 + 2?\n\n\nAssistant: 4\n\nUser: Assistant: 5\n\nAssistant: No."
    )
    assert [found.text[start:end] for start, end in found.generated] == [" 4\n\n", " No."]
    contents = [found.text[start:end] for start, end in found.contents]
    assert contents == ["Be short.", "2 + 2?", "4", "Assistant: 5", "No."]


def test_chatml_supervises_answers_with_the_token_that_ends_them() -> None:
    found = render(CHATML, TURNS[:3])
    assert found.text == (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\n 2 + 2?\n<|im_end|>\n"
        "<|im_start|>assistant\n4<|im_end|>\n"
    )
    assert [found.text[start:end] for start, end in found.generated] == ["4<|im_end|>\n"]


def test_what_is_supervised_is_declared() -> None:
    spans = {}
    for supervise in get_args(Supervise):
        raw = conversation(
            _raw(messages=[turn._asdict() for turn in TURNS]), ConversationRule("chat", PLAIN, supervise)
        )
        spans[supervise] = [raw.text[start:end] for start, end in Marks.from_json(raw.marks or b"").supervised]
    assert spans == {"answers": [" 4\n\n", " No."], "last_answer": [" No."], "all": [raw.text]}


def test_of_a_pair_only_the_answer_is_supervised_and_not_the_answers_in_its_prompt() -> None:
    prompt = [turn._asdict() for turn in TURNS[1:4]]
    raw = conversation(
        _raw(prompt=prompt, chosen="No.", rejected="Yes!", margin=1), ConversationRule("preferences", PLAIN, "answers")
    )
    marks = Marks.from_json(raw.marks or b"")
    chosen, rejected = marks.conversations(raw.text)
    for (text, supervised, contents), answer in ((chosen, " No."), (rejected, " Yes!")):
        assert [text[start:end] for start, end in supervised] == [answer]
        assert [text[start:end] for start, end in contents] == ["2 + 2?", "4", "Assistant: 5", answer.strip()]
    assert chosen[0] + rejected[0] == raw.text and marks.margin == 1.0


def test_conversations_with_one_first_question_share_the_hash_of_their_prompt() -> None:
    rule = ConversationRule("chat", PLAIN, "answers")
    pair = ConversationRule("preferences", PLAIN, "answers")
    hashes = {
        conversation(_raw(prompt="q", response="a"), rule).prompt_hash,
        conversation(
            _raw(messages=[Message("user", "q")._asdict(), Message("assistant", "b")._asdict()]), rule
        ).prompt_hash,
        conversation(_raw(prompt="q", chosen="a", rejected="b"), pair).prompt_hash,
    }
    assert len(hashes) == 1
    assert conversation(_raw(prompt="r", response="a"), rule).prompt_hash not in hashes


def test_a_template_that_trims_contents_is_marked_and_one_that_takes_them_apart_is_not() -> None:
    trims = "{% for m in messages %}{% generation %}{{ m.content | trim }}|{% endgeneration %}{% endfor %}"
    assert render(trims, TURNS[1:3]).contents == ((0, 6), (7, 8))
    for alters in (
        "{{ messages[0].content | upper }}{{ messages[1].content[:1] }}",
        "{{ messages[0].content | length }}",
    ):
        with pytest.raises(FaultError, match="template_alters_content"):
            render(alters, TURNS[1:3])


def test_a_record_of_which_the_template_leaves_out_a_turn_is_rejected() -> None:
    """A system turn may be left out, as templates of models without one do; a tool's result may not."""
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% elif m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}"
    )
    rule = ConversationRule("chat", template, "answers")
    turns = [Message("system", "4"), Message("user", "2 + 2?"), Message("assistant", "Add."), Message("tool", "= 4")]
    turns.append(Message("assistant", "4"))
    assert conversation(_raw(messages=[turn._asdict() for turn in turns[:3]]), rule).text == "2 + 2?Add."
    with pytest.raises(FaultError, match="^template_drops_turn: of tool$"):
        conversation(_raw(messages=[turn._asdict() for turn in turns]), rule)


def test_answers_that_the_template_makes_equal_are_no_pair() -> None:
    trims = "{% for m in messages %}{% generation %}{{ m.content | trim }}|{% endgeneration %}{% endfor %}"
    with pytest.raises(FaultError, match="equal_answers"):
        conversation(_raw(prompt="q", chosen="a", rejected="a "), ConversationRule("preferences", trims, "answers"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "line 1 of the template"),
        ("{{ messages[0].content }}", "marks no answer"),
        ("{{ strftime_now('%Y') }}", "two builds would differ"),
        ("{{ eos_token }}", "write the token itself"),
        ("{{ raise_exception('never') }}", "cannot render a question with its answer: template_error: never"),
        ("{{ 'a' * 10 ** 12 }}", "cannot render"),
        ("{{ messages.__class__.__mro__ }}", "cannot render"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_before_any_work(template: str, message: str) -> None:
    with pytest.raises(RequestError, match=f"^spec.yaml:3: sources.a.template: .*{message}"):
        check_template(template, "spec.yaml:3: sources.a.template", needs_marks=True)


def test_a_template_without_marks_is_enough_where_everything_is_supervised() -> None:
    check_template("{{ messages[0].content }} {{ messages[1].content }}", "", needs_marks=False)
