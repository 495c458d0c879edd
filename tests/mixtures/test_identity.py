"""What changes a result changes the identity, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mixproof.ledger.fingerprint import sha256_of
from mixproof.mixtures.identity import build_identity
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]
KEY = "questions"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: small", "name: other"),
        ('"web/*.jsonl"', '"elsewhere/*.jsonl"'),
        ('"web/*.jsonl"', '"web/*.jsonl", format: jsonl'),
        ("tok.model", "copy/of/tok.model"),
        ("web: 70%, code: 20%", "web: 60%, code: 30%"),
        ("tokens: 1000", "tokens: 2000"),
        ("sequence_length: 10", "seeds: [5]"),
        ("schema: 1", "schema: 1\ntarget: {tokens: 1T}"),
        ("schema: 1", "schema: 1\ndedup: {exact: false}"),
        ("schema: 1", "schema: 1\ndecontaminate: {ngram: 13}"),
        ("schema: 1", "schema: 1\non_bad_record: {reject: 0.01}"),
    ],
)
def test_a_build_does_not_depend_on_places_shares_budgets_or_seeds(
    old: str, new: str, small: Spec, load_with: LoadWith
) -> None:
    assert sha256_of(build_identity(load_with(old, new))) == sha256_of(build_identity(small))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: code", "format: jsonl"),
        ("format: code", "format: code, steps: [{length: {min_chars: 10}}]"),
        ('"web/*.jsonl"', '"web/*.jsonl", text: body'),
        ("  wiki: {", "  wikis: {files: x}\n  wiki: {"),
        ("tok.model", 'tok.model, eod: "<eod>"'),
        ("{sentencepiece: tok.model}", "{train: {}}"),
        ("schema: 1", "schema: 1\ndedup: true"),
        ("schema: 1", "schema: 1\ndedup: {exact: false, paragraphs: true}"),
        ("schema: 1", "schema: 1\ndedup: {exact: false, substrings: true}"),
        ("schema: 1", "schema: 1\ndecontaminate: false"),
        ("schema: 1", "schema: 1\ndecontaminate: {overlap: 0.4}"),
        ("schema: 1", "schema: 1\nheldout: {create: {tokens: 5K}}"),
        ("schema: 1", "schema: 1\nheldout: {from: m.json}"),
        ("schema: 1", "schema: 1\non_bad_record: {reject: 2%}"),
    ],
)
def test_a_build_depends_on_what_its_documents_and_tokens_come_from(
    old: str, new: str, small: Spec, load_with: LoadWith
) -> None:
    assert sha256_of(build_identity(load_with(old, new))) != sha256_of(build_identity(small))


def test_the_order_of_steps_counts_and_the_order_of_sources_does_not(load_with: LoadWith) -> None:
    one = load_with("format: code", "steps: [{length: {min_chars: 10}}, {sampler: {rate: 0.5}}]")
    other = load_with("format: code", "steps: [{sampler: {rate: 0.5}}, {length: {min_chars: 10}}]")
    assert build_identity(one) != build_identity(other)
    turned = one.model_copy(update={"sources": dict(reversed(one.sources.items()))})
    assert sha256_of(build_identity(turned)) == sha256_of(build_identity(one))


def test_the_search_for_questions_is_part_of_the_identity_where_there_is_something_to_find(load_with: LoadWith) -> None:
    stated = [
        build_identity(load_with("schema: 1", f"schema: 1\ndecontaminate: {{{rules}}}"))["decontaminate"].get(
            "questions"
        )
        for rules in ("ngram: 8", "against: quiz.jsonl", "against: quiz.jsonl, questions: false")
    ]
    assert stated == [None, {"ngram": 5, "overlap": "0.4"}, None]
