"""Steps: what they keep and drop, how bytes are counted, and what is refused before any work."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mixproof.ledger.account import Count, StageRow
from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of
from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps import apply_steps, make_steps, needs_fields, steps_identity


def step(name: str, **options: Any) -> Step:  # noqa: ANN401 - options are anything YAML can say
    return Step(name=name, options=options)


def datatrove(name: str, **options: Any) -> Step:  # noqa: ANN401 - as above
    return Step(name="datatrove", options={"class": name, **options})


def run(steps: list[Step], texts: list[str]) -> tuple[list[str | None], list[StageRow]]:
    made = make_steps(steps)
    out = []
    for number, text in enumerate(texts):
        data = apply_steps(Raw(number, None, text), text.encode(), made)
        out.append(None if data is None else data.decode())
    return out, [one.row().check() for one in made]


def test_length_counts_characters_and_the_account_counts_bytes() -> None:
    out, rows = run([step("length", min_chars=2, max_chars=3)], ["é", "éé", "ééé", "éééé"])
    assert out == [None, "éé", "ééé", None]
    assert rows == [
        StageRow(
            stage="length",
            documents_in=4,
            documents_out=2,
            bytes_in=20,
            bytes_out=10,
            dropped={"too_long": Count(documents=1, bytes=8), "too_short": Count(documents=1, bytes=2)},
        )
    ]


def test_what_leaves_a_step_enters_the_next_and_repeated_names_are_numbered() -> None:
    out, rows = run([step("length", min_chars=2), step("length", max_chars=2)], ["a", "ab", "abc"])
    assert out == [None, "ab", None]
    assert [(row.stage, row.documents_in, row.documents_out) for row in rows] == [("length", 3, 2), ("length#2", 2, 1)]


def test_the_sampler_keeps_a_share_by_the_text_alone() -> None:
    texts = [f"text {number}" for number in range(2000)]
    half, _ = run([step("sampler", rate=Decimal("0.5"))], texts)
    again, _ = run([step("sampler", rate="50%")], texts[::-1])
    tenth, _ = run([step("sampler", rate=Fraction(1, 10))], texts)
    kept = {text for text in half if text}
    assert {text for text in again if text} == kept
    assert {text for text in tenth if text} < kept
    assert 900 < len(kept) < 1100
    assert run([step("sampler", rate=1)], texts)[0] == texts


def test_a_datatrove_formatter_counts_bytes_added_and_removed_and_starts_anew_at_each_document() -> None:
    pii = datatrove("PIIFormatter", email_replacement=["a@b.cd", "long-name@example.org"])
    texts = ["write to someone@real-site.com", "x@y.zw and p@q.rs", "nothing"]
    out, rows = run([pii], texts)
    assert out == ["write to a@b.cd", "a@b.cd and long-name@example.org", "nothing"]
    assert run([pii], texts[1:])[0] == out[1:]
    (row,) = rows
    assert (row.stage, row.bytes_removed, row.bytes_added) == ("PIIFormatter", 15, 15)
    assert (row.bytes_in, row.bytes_out) == (54, 54)


def test_a_datatrove_filter_gives_its_own_reasons() -> None:
    good = "\n".join(["a paragraph of some length " * 10] * 3)
    out, rows = run([datatrove("C4ParagraphFilter"), datatrove("RegexFilter", regex_exp="bad")], [good, "short"])
    assert out == [good, None]
    assert rows[0].dropped == {"< 3 paragraphs": Count(documents=1, bytes=5)}
    assert (rows[1].stage, rows[1].documents_in, rows[1].documents_out) == ("RegexFilter", 1, 1)


@pytest.mark.filterwarnings("ignore:The .registered_domain. property:DeprecationWarning")  # datatrove asks for it
def test_datatroves_url_filter_needs_no_network_and_counts_what_has_no_url() -> None:
    theirs = datatrove("URLFilter", use_integrated_lists=False, extra_domains=["bad.com"])
    for made in make_steps([theirs, step("url", extra_domains="bad.com")]):
        for number, url in enumerate(["https://www.bad.com/a", "https://good.com/a", None, 7]):
            fields = {} if url is None else {"url": url}
            apply_steps(Raw(number, None, "text", fields), b"text", [made])
        row = made.row().check()
        assert row.dropped == {"domain": Count(documents=1, bytes=4), "no_url": Count(documents=2, bytes=8)}
        assert row.documents_out == 1


def test_a_datatrove_filter_that_edits_the_text_is_counted_like_a_formatter() -> None:
    keep = "This line is a whole sentence that ends as it should.\n" * 6
    lines_only = datatrove("C4QualityFilter", filter_no_terminal_punct=True, min_num_sentences=-1)
    out, rows = run([lines_only], [keep + "menu bar here now"])
    assert out == [keep.rstrip("\n")]
    assert (rows[0].bytes_in - rows[0].bytes_out, rows[0].bytes_removed) == (18, 18)


def test_only_datatrove_steps_ask_for_the_other_fields_of_a_record() -> None:
    assert needs_fields([step("length"), datatrove("URLFilter")])
    assert not needs_fields([step("length"), step("sampler")])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (step("lenght"), "unknown step 'lenght'"),
        (
            step("length", minimum=3),
            "unknown option 'minimum'; known are min_chars, max_chars",
        ),
        (step("length", min_char=3), r"unknown option 'min_char' \(did you mean 'min_chars'\?\)"),
        (step("gopher_qualty"), r"unknown step 'gopher_qualty' \(did you mean 'gopher_quality'\?\)"),
        (
            step("length", min_chars=5, max_chars=2),
            "min_chars 5 is above max_chars 2, so every document would be dropped",
        ),
        (step("length", max_chars=0), "max_chars 0 would drop every document"),
        (step("sampler", rate=0), r"rate: 0: a rate of 0 keeps no document"),
        (step("regex", regex_exp="[a-z]*"), "matches every text, even an empty one"),
        (step("c4_quality", max_word_length=0), r"max_word_length: 0: every line has a longer word"),
        (step("gopher_quality", max_symbol_word_ratio=30), r"max_symbol_word_ratio: .*less than or equal to 1, not 30"),
        (step("score", field="s", min=Decimal("0.5"), max=0), "min 0.5 is above max 0"),
        (step("language", keep="english"), "'english' is not one of the 176 languages .* codes such as `en`"),
        (step("language", min_score=1), "no score is above 1"),
        (step("language", min_score=65), r"min_score: .*less than or equal to 1, not 65"),
        (step("pii", email_replacement=[]), r"email_replacement: .*at least 1 item"),
        (step("symbol_lines", symbols_to_remove=["ab"]), "single characters, 'ab' is 2"),
        (step("fineweb_quality", short_line_thr=Fraction(-1, 10)), r"greater than or equal to 0, not -0\.1"),
        (step("gopher_repetition", top_n_grams=[[2, 5]]), r"top_n_grams\.0\.1: .*less than or equal to 1, not 5"),
        (step("gopher_repetition", dup_n_grams=[[0, 0.1]]), r"dup_n_grams\.0\.0: .*greater than or equal to 1, not 0"),
        (step("c4_quality", min_num_sentences=-7), r"min_num_sentences: .*greater than or equal to -1, not -7"),
        (step("c4_quality", language="englsh"), "no word tokenizer for 'englsh': .*use a code"),
        (step("length", min_chars="3"), r"length\.min_chars: .*integer, not '3'"),
        (step("sampler"), "rate: 10%"),
        (step("sampler", rate=3), "between 0 and 1"),
        (datatrove("GopherFilter"), "no filter or formatter 'GopherFilter'; it has .*GopherQualityFilter"),
        (datatrove("SentenceDedupFilter"), "compares documents, and a step sees one at a time"),
        (datatrove("GopherQualityFilter", min_words=3), "does not accept these options: .*min_words"),
        (datatrove("LambdaFilter", filter_function="f"), "takes a function, which a spec cannot hold"),
        (datatrove("RegexFilter", regex_exp="("), "does not accept these options: .*unterminated"),
        (datatrove("FastTextClassifierFilter", model_url="model.bin"), "'model.bin': no such file; give an absolute"),
        (datatrove("FastTextClassifierFilter", model_url="https://a/m.bin"), "would download its model"),
        (datatrove("SamplerFilter", rate=0.5), "depend on the order"),
        (datatrove("C4BadWordsFilter", keep_fraction=0.1), "depend on the order"),
        (datatrove("C4ParagraphFilter", exclusion_writer="x"), "outside the store"),
    ],
)
def test_a_step_that_cannot_be_made_is_refused_and_named(wrong: Step, says: str) -> None:
    with pytest.raises(RequestError, match=rf"sources\.a\.steps\[1\].*{says}"):
        make_steps([step("length"), wrong], "sources.a.steps")


def test_equal_steps_have_one_identity_and_unequal_ones_have_two() -> None:
    def identity(*steps: Step) -> str:
        return sha256_of(steps_identity(steps))

    a, b = step("length", min_chars=1), step("length", min_chars=2)
    assert identity(a, b) == identity(step("length", min_chars=1), b)
    assert len({identity(), identity(a), identity(b), identity(a, b), identity(b, a)}) == 5
    assert identity(datatrove("GopherQualityFilter", max_symbol_word_ratio=Decimal("0.10"))) == identity(
        datatrove("GopherQualityFilter", max_symbol_word_ratio=0.1)
    )


def test_a_score_may_be_of_any_kind_of_number() -> None:
    (made,) = make_steps([step("score", field="s", min=2)])
    for number, value in enumerate([3, 2.5, Decimal("2.25"), 10**400, Decimal("1.5"), float("nan"), True, "3", None]):
        apply_steps(Raw(number, None, "text", {"s": value}), b"text", [made])
    row = made.row().check()
    assert row.documents_out == 4
    assert {reason: gone.documents for reason, gone in row.dropped.items()} == {
        "no_score": 1,
        "score_below": 1,
        "score_not_a_number": 3,
    }


def test_a_fasttext_filter_asks_the_model_that_is_there_now(fasttext_model: Path) -> None:
    classifier = datatrove(
        "FastTextClassifierFilter", model_url=str(fasttext_model), keep_labels=["de", Decimal("0.5")]
    )
    german, english = "Die alte Brücke wurde im Frühling gesperrt.", "The old bridge was closed in spring."
    assert run([classifier], [german, english])[0] == [german, None]
    before = steps_identity([classifier])
    assert before == steps_identity([classifier])
    fasttext_model.write_bytes(fasttext_model.read_bytes() + b"\0")
    assert before != steps_identity([classifier])
    fasttext_model.write_bytes(b"no model")
    with pytest.raises(RequestError, match=r"steps\[0\]: model_url: '.*model\.bin': not a fastText model"):
        make_steps([classifier])


def test_a_label_that_the_model_does_not_have_is_refused_before_any_work(fasttext_model: Path) -> None:
    with pytest.raises(RequestError, match=r"steps\[0\]: .* has no label 'math'; it has af, "):
        make_steps([datatrove("FastTextClassifierFilter", model_url=str(fasttext_model), remove_labels=[["math", 1]])])
