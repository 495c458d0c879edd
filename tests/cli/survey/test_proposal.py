"""The numbers of a proposal, by hand."""

from __future__ import annotations

from mixproof.cli.survey.fields import Fields
from mixproof.cli.survey.proposal import propose
from mixproof.cli.survey.sources import FoundSource


def source(name: str, text_bytes: int, documents: int | None = 1000) -> FoundSource:
    return FoundSource(
        name=name,
        patterns=(f"{name}/*.jsonl",),
        format="jsonl",
        declared=False,
        fields=Fields("text", "id"),
        files=1,
        bytes=text_bytes,
        documents=documents,
        text_bytes=text_bytes,
        languages=(),
        texts=(),
    )


def test_text_of_ten_megabytes_takes_two_hundred_thousand_tokens_and_a_vocabulary_of_eight_thousand() -> None:
    proposal = propose([source("a", 6_000_000), source("b", 4_000_000)])
    assert (proposal.run_tokens, proposal.sequence_length, proposal.vocab_size) == (200_000, 256, 8000)
    assert (proposal.min_documents, proposal.tokenizer_bytes) == (50, 10_000_000)
    assert proposal.tokens == 2_500_000


def test_little_text_is_repeated_three_times_at_most() -> None:
    # 60 KB are 15,000 tokens; two sources, alike: 2 x 3 x 15,000
    assert propose([source("a", 60_000), source("b", 60_000)]).run_tokens == 90_000
    assert propose([source("a", 60_000)]).run_tokens == 45_000
    assert propose([source("a", 60_000)]).vocab_size == 512


def test_a_small_source_makes_runs_longer_until_its_share_is_two_windows() -> None:
    # 2 x 256 x 25,250,000 / 25,000 tokens = 517,120, to two digits
    proposal = propose([source("large", 100_900_000), source("small", 100_000)])
    assert proposal.run_tokens == 520_000
    assert proposal.left_out == ()


def test_a_source_that_would_make_runs_too_long_is_left_out() -> None:
    proposal = propose([source("large", 400_000_000), source("small", 100_000), source("other", 50_000_000)])
    assert [kept.name for kept in proposal.sources] == ["large", "other"]
    assert [(one.what, "too few beside" in one.reason) for one in proposal.left_out] == [("small", True)]
    assert proposal.sequence_length == 512


def test_the_least_number_of_held_out_documents_is_a_twentieth_of_the_smallest_source() -> None:
    assert propose([source("a", 10**7, 400), source("b", 10**7, 5000)]).min_documents == 20
    assert propose([source("a", 10**7, 20)]).min_documents == 1
    assert propose([source("a", 10**7, None)]).min_documents == 1
