"""Records of other people's forms become conversations, pairs and rated answers, or say why they do not."""

from __future__ import annotations

from typing import Any

import pytest

from mixproof.pipeline.chat.forms import chat_of, preferences_of, ratings_of
from mixproof.pipeline.chat.messages import FaultError, Message

BRIEF = {"role": "system", "content": "Be short."}
ASK, TELL = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
USER, ANSWER = Message("user", "2 + 2?"), Message("assistant", "4")


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [ASK, TELL]},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"prompt": "2 + 2?", "response": "4"},
        {"prompt": [ASK], "completion": [TELL]},
        {
            "messages": [
                {"role": "User", "content": [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2?"}]},
                TELL,
            ]
        },
        {"messages": None, "conversation": [ASK, TELL]},
        {"instruction": "2 + 2?", "input": "", "output": "4"},
        {"instruction": "2 + 2?", "context": "", "response": "4", "category": "closed_qa"},
        {"question": "2 + 2?", "answer": "4"},
        {"query": "2 + 2?", "response": "4", "history": []},
        {"input": [ASK], "output": "4", "system_prompt": ""},
        {"prompt": "2 + 2?", "completion": "4", "label": True},
    ],
)
def test_one_conversation_in_several_forms(fields: dict[str, Any]) -> None:
    (exchange,) = chat_of(fields).exchanges
    assert exchange.prompt == (USER,) and exchange.answer == (ANSWER,)


def test_the_prompt_of_a_conversation_is_its_first_question_with_the_system_turn() -> None:
    (exchange,) = chat_of({"system": "Be short.", "messages": [ASK, TELL, ASK, TELL]}).exchanges
    assert exchange.prompt == (Message("system", "Be short."), USER)
    assert exchange.answer == (ANSWER, USER, ANSWER)


def test_the_material_of_a_task_follows_it_and_history_comes_before_it() -> None:
    """Forms of Alpaca, Dolly and OpenOrca; `history` holds pairs of texts."""
    for name, answer in (("input", "output"), ("context", "response")):
        fields = {"instruction": "Add up.", name: "2 + 2", answer: "4", "history": [["Hello.", "Hello!"]]}
        (exchange,) = chat_of({"system_prompt": "Be short.", **fields}).exchanges
        assert [turn.content for turn in exchange.prompt] == ["Be short.", "Hello."]
        assert [turn.content for turn in exchange.answer] == ["Hello!", "Add up.\n\n2 + 2", "4"]
    for more, reason in (({"input": {"a": 1}}, "content_not_text"), ({"history": ["Hello."]}, "bad_history")):
        with pytest.raises(FaultError, match=f"^{reason}: "):
            chat_of({"instruction": "Add up.", "output": "4", **more})


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("2 + 2?", "messages_not_a_list: str"),
        ([{"speaker": "user", "text": "2 + 2?"}, TELL], "unknown_role: no `role` or `from` beside speaker, text"),
        ([], "no_messages"),
        ([ASK, "4"], "message_not_an_object"),
        ([ASK, {"role": "narrator", "content": "4"}], "unknown_role"),
        ([ASK, {"role": "assistant", "content": None}], "missing_content"),
        ([ASK, {"role": "assistant", "content": 4}], "content_not_text"),
        ([ASK, {"role": "assistant", "content": [{"type": "image_url", "image_url": "x"}]}], "content_not_text"),
        ([ASK, {"role": "assistant", "content": " \n"}], "empty_turn"),
        ([ASK, {"role": "assistant", "content": "\ud800"}], "lone_surrogate"),
        ([ASK, {"role": "assistant", "content": "4\ufdd1"}], "noncharacter"),
        ([ASK, {"role": "assistant", "content": "4", "tool_calls": [{}]}], "tool_calls"),
        ([ASK, {"role": "assistant", "content": None, "function_call": {"name": "add"}}], "tool_calls"),
        ([ASK, {**TELL, "weight": 0}], "message_weight: an answer with weight 0"),
        ([ASK, {**TELL, "train": False}], "message_weight: an answer with train False"),
        ([ASK, {"from": "function_call", "value": "{}"}], "unknown_role: 'function_call'"),
        (
            [ASK, {"role": "assistant", "content": [{"type": "image_url"}]}],
            "content_not_text: a part of type image_url",
        ),
        ([ASK, ASK, TELL], "roles_do_not_alternate: user after user"),
        ([ASK, TELL, {"role": "system", "content": "Be short."}, ASK, TELL], "system_not_first"),
        ([ASK, ASK, TELL], "roles_do_not_alternate"),
        ([TELL], "roles_do_not_alternate"),
        ([ASK, TELL, ASK], "no_answer"),
        ([ASK], "no_answer"),
    ],
)
def test_what_is_no_conversation_has_a_reason(messages: object, reason: str) -> None:
    with pytest.raises(FaultError, match=f"^{reason}(: |$)"):
        chat_of({"messages": messages})


def test_a_record_without_any_conversation_or_response_has_a_reason() -> None:
    for fields, reason in (
        ({"text": "x"}, "no_conversation"),
        ({"prompt": "x"}, "missing_response: none of response, completion, output, answer"),
        ({"message_id": "1", "parent_id": None, "text": "x", "role": "prompter"}, "no_conversation: one message of a"),
        ({"prompt": "x", "completion": "y", "label": False}, "labelled_false: "),
    ):
        with pytest.raises(FaultError, match=reason):
            chat_of(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"prompt": [ASK], "chosen": [TELL], "rejected": [{"role": "assistant", "content": "5"}]},
        {"chosen": [ASK, TELL], "rejected": [ASK, {"role": "assistant", "content": "5"}]},
        {"prompt": "2 + 2?", "chosen": [ASK, TELL], "rejected": [ASK, {"role": "assistant", "content": "5"}]},
        {"prompt": "2 + 2? ", "chosen": [ASK, TELL], "rejected": [ASK, {"role": "assistant", "content": "5"}]},
        {"context": [ASK], "response1": "4", "response2": "5", "overall_preference": -2},
        {"prompt": "2 + 2?", "response_1": "5", "response_2": "4", "preference_strength": 1},
        {"prompt": "2 + 2?", "response_0": "5", "response_1": "4", "better_response_id": 1},
        {"prompt": "2 + 2?", "response_a": "4", "response_b": "5", "winner": "model_a"},
        {"question": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"instruction": "2 + 2?", "input": "", "chosen": "4", "rejected": "5"},
        {
            "conversations": [{"from": "human", "value": "2 + 2?"}],
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": {"from": "gpt", "value": "5"},
        },
    ],
)
def test_one_pair_in_several_forms(fields: dict[str, Any]) -> None:
    example = preferences_of({**fields, "score_chosen": 4, "score_rejected": 1.5, "margin": 2})
    chosen, rejected = example.exchanges
    assert chosen.prompt == rejected.prompt == (USER,)
    assert (chosen.answer, rejected.answer) == ((ANSWER,), (Message("assistant", "5"),))
    assert example.ratings == (4.0, 1.5) and example.margin == 2.0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": "q", "rejected": "5"}, "missing_chosen"),
        ({"prompt": "q", "completion": "5", "label": True}, "unpaired_answer: .*"),
        ({"prompt": "q", "response1": "4", "response2": "5", "overall_preference": 0}, "tie: overall_preference is 0"),
        ({"prompt": "q", "response1": "4", "response2": "5"}, "bad_verdict: overall_preference is None"),
        ({"prompt": "q", "response_a": "4", "response_b": "5", "winner": "c"}, "bad_verdict: winner is 'c'"),
        ({"prompt": "q", "response_a": "4", "response_b": "5", "winner": "tie (bothbad)"}, "tie: .*"),
        ({"chosen": [BRIEF, ASK, TELL], "rejected": [BRIEF, {**ASK, "content": "q"}, TELL]}, "no_shared_prompt"),
        ({"prompt": [ASK], "chosen": [TELL], "rejected": [TELL, ASK, TELL]}, "no_answer"),
        ({"prompt": "q", "chosen": "5"}, "missing_rejected"),
        ({"chosen": "4", "rejected": "5"}, "missing_prompt"),
        ({"prompt": "q", "chosen": "4", "rejected": "4"}, "equal_answers"),
        ({"prompt": "2 + 2?", "chosen": [ASK, TELL], "rejected": [TELL]}, "equal_answers"),
        ({"chosen": [ASK, TELL], "rejected": [ASK, TELL]}, "equal_answers"),
        ({"chosen": [ASK, TELL], "rejected": [{"role": "user", "content": "3?"}, TELL]}, "no_shared_prompt"),
        ({"prompt": "q", "chosen": "4", "rejected": "5", "margin": float("nan")}, "bad_margin"),
        ({"prompt": "q", "chosen": "4", "rejected": "5", "chosen_rating": "high"}, "bad_rating"),
    ],
)
def test_what_is_no_pair_has_a_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(FaultError, match=f"^{reason}$"):
        preferences_of(fields)


def test_attributes_of_a_rated_answer_are_a_map_or_those_of_helpsteer() -> None:
    rated = {"prompt": "2 + 2?", "response": "4"}
    assert ratings_of({**rated, "attributes": {"correct": 1, "kind": None}}).attributes == {"correct": 1.0}
    assert ratings_of({**rated, "attributes": [("correct", 1)]}).attributes == {"correct": 1.0}
    assert ratings_of({**rated, "helpfulness": 4, "verbosity": 2}).attributes == {"helpfulness": 4.0, "verbosity": 2.0}


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (None, "no_attributes"),
        ({}, "no_attributes"),
        ({"correct": None}, "no_attributes"),
        ({"correct": float("nan")}, "bad_attribute"),
        ({"correct": float("inf")}, "bad_attribute"),
        ({"correct": True}, "bad_attribute"),
        ({"correct": "1"}, "bad_attribute"),
        ({"": 1}, "bad_attribute"),
        ("good", "attributes_not_a_map"),
    ],
)
def test_what_is_no_rating_has_a_reason(attributes: object, reason: str) -> None:
    with pytest.raises(FaultError, match=f"^{reason}$"):
        ratings_of({"prompt": "q", "response": "a", "attributes": attributes})


def test_turns_that_both_answers_share_belong_to_the_prompt() -> None:
    """Also where the prompt is given as the first question alone, or with a system turn that the answers lack."""
    chosen, rejected = ([ASK, TELL, ASK, {"role": "assistant", "content": text}] for text in ("Four.", "Five."))
    for prompt in ([ASK], [BRIEF, ASK]):
        for start in (0, 1):
            pair = preferences_of({"prompt": prompt, "chosen": chosen[start:], "rejected": rejected[start:]})
            assert {exchange.prompt[-3:] for exchange in pair.exchanges} == {(USER, ANSWER, USER)}
            assert [turn.role for turn in pair.exchanges[0].prompt[:-3]] == ["system"] * (len(prompt) - 1)
            assert [exchange.answer[0].content for exchange in pair.exchanges] == ["Four.", "Five."]


def test_the_label_of_an_answer_counts_as_its_rating() -> None:
    for label in (True, False):
        assert ratings_of({"prompt": "q", "completion": "a", "label": label}).attributes == {"label": float(label)}


def test_pairs_of_whole_dialogues_as_texts_share_their_first_turns() -> None:
    start = "\n\nHuman: 2 + 2?\n\nAssistant: 4\n\nHuman: And 3?"
    example = preferences_of({"chosen": f"{start}\n\nAssistant: 6", "rejected": f"{start}\n\nAssistant: 7\n\nOr 8."})
    chosen, rejected = example.exchanges
    assert chosen.prompt == rejected.prompt == (USER, ANSWER, Message("user", "And 3?"))
    assert (chosen.answer, rejected.answer) == (
        (Message("assistant", "6"),),
        (Message("assistant", "7\n\nOr 8."),),
    )
    with pytest.raises(FaultError, match="^empty_turn: of assistant"):
        preferences_of({"chosen": f"{start}\n\nAssistant:", "rejected": f"{start}\n\nAssistant: 7"})


def test_an_answer_may_be_one_message_and_a_weight_of_one_is_the_usual_one() -> None:
    pair = {"prompt": "2 + 2?", "chosen": {"from": "gpt", "value": "4"}, "rejected": {"from": "gpt", "value": "5"}}
    assert preferences_of(pair).exchanges[0].answer == (ANSWER,)
    assert chat_of({"messages": [ASK, {**TELL, "weight": 1, "train": True}]}).exchanges[0].answer == (ANSWER,)
