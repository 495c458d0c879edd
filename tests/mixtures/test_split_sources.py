"""A split source gives way to its parts everywhere a spec names it, and what names none of them is refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from mixproof.mixtures.arithmetic.shares import Supply, resolve_mixture
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.identity import build_identity
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import (
    SplitSource,
    part_name,
    split_sources,
    stated_values,
    with_named_parts,
    with_parts,
)

LoadText = Callable[[str], Spec]
MIXTURE = "main: {web/high: 70%, code: 20%, wiki: 10%}"


@pytest.fixture
def load_split(base: str, load_text: LoadText) -> Callable[..., Spec]:
    """Load the small spec with `web` split by `quality`."""

    def load(more: str = "", mixture: str = MIXTURE) -> Spec:
        text = base.replace('"web/*.jsonl"}', '"web/*.jsonl", split_by: quality, steps: [pii]}')
        return load_text(text.replace("main: {web: 70%, code: 20%, wiki: 10%}", mixture) + more)

    return load


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("high", "web/high"),
        ("zh-CN", "web/zh-CN"),
        ("CC BY-SA 4.0", "web/CC%20BY-SA%204.0"),
        ("../..", "web/%2E.%2F.."),
        (".", "web/%2E"),
        ("50%", "web/50%25"),
        ("日", "web/%E6%97%A5"),
        ("a\nb", "web/a%0Ab"),
    ],
)
def test_a_value_makes_a_name_that_may_be_a_file(value: str, name: str) -> None:
    assert part_name("web", value) == name


def test_parts_stand_in_the_place_of_their_source(load_split: Callable[..., Spec]) -> None:
    written = load_split()
    assert split_sources(written) == {"web": "quality"}
    spec = with_parts(written, {"web": ["low", "high"]})
    assert list(spec.sources) == ["web/high", "web/low", "code", "wiki"]
    low = spec.sources["web/low"]
    assert isinstance(low, SplitSource)
    assert (low.of, low.value, low.split_by) == ("web", "low", "quality")
    assert (low.files, low.steps) == (written.sources["web"].files, written.sources["web"].steps)
    assert not split_sources(spec)
    assert spec.where("sources", "web/low", "steps").endswith("spec.yaml:4: sources.web/low.steps")
    assert with_parts(written, {}) is written


def test_the_identity_of_a_part_holds_its_value_and_gives_it_back(load_split: Callable[..., Spec]) -> None:
    identity = build_identity(with_parts(load_split(), {"web": ["low", "high", "."]}))["sources"]
    assert identity["web/low"]["split_value"] == "low"
    assert "split_value" not in identity["wiki"]
    assert stated_values(identity) == {"web": [".", "high", "low"]}


def test_a_split_source_stands_for_its_parts_where_order_and_caps_are_given(load_split: Callable[..., Spec]) -> None:
    more = (
        "dedup: {keep: [web/low, code, web], scope: {a: [web, wiki], b: [code]}, paragraphs: {sources: [web]}, "
        "substrings: {sources: [web/low]}}\n"
        "target: {tokens: 1M, max_epochs: {web: 2, web/mid: 3}}\n"
    )
    mixture = "main: {rule: proportional, times: {web: 2, web/low: 5}}"
    spec = with_parts(load_split(more, mixture), {"web": ["low", "mid", "high"]})
    assert spec.dedup is not None
    assert spec.target is not None
    assert spec.dedup.keep == ("web/low", "code", "web/high", "web/mid")
    assert spec.dedup.paragraphs is not None
    assert spec.dedup.paragraphs.sources == ("web/high", "web/low", "web/mid")
    assert spec.dedup.substrings is not None
    assert spec.dedup.substrings.sources == ("web/low",)
    assert spec.dedup.scope == {"a": ("web/high", "web/low", "web/mid", "wiki"), "b": ("code",)}
    assert spec.target.max_epochs == {"default": 4, "web/high": 2, "web/low": 2, "web/mid": 3}
    assert spec.mixtures["main"].times == {"web/high": 2, "web/low": 5, "web/mid": 2}


def test_in_the_group_of_a_split_source_members_go_by_their_values(load_split: Callable[..., Spec]) -> None:
    spec = load_split(mixture="main: {web: {share: 60%, of: {high: 2, web/low: 1}}, code: 40%}")
    shares = spec.mixtures["main"].shares
    assert shares == {"web/high": Fraction(2, 5), "web/low": Fraction(1, 5), "code": Fraction(2, 5)}


def shares_of(spec: Spec, **tokens: int) -> dict[str, Fraction]:
    """Shares of the mixture `main` where the parts of `web` have these tokens, `code` and `wiki` 100."""
    tokens_of = {"code": 100, "wiki": 100} | {f"web/{value}": count for value, count in tokens.items()}
    (phase,) = resolve_mixture(spec, "main", Supply(1000, tokens_of, tokens_of))
    return phase.shares


def test_the_share_of_a_split_source_follows_the_tokens_of_its_parts(load_split: Callable[..., Spec]) -> None:
    whole = with_parts(load_split(mixture="main: {web: 60%, code: 40%}"), {"web": ["low", "mid", "high"]})
    assert shares_of(whole, low=300, mid=100, high=0) == {
        "web/low": Fraction(45, 100),
        "web/mid": Fraction(15, 100),
        "code": Fraction(40, 100),
    }
    rest = with_parts(load_split(mixture="main: {web: 60%, web/mid: 40%}"), {"web": ["low", "mid", "high"]})
    assert shares_of(rest, low=300, mid=100, high=100) == {
        "web/low": Fraction(45, 100),
        "web/high": Fraction(15, 100),
        "web/mid": Fraction(40, 100),
    }
    none = with_parts(load_split(mixture="main: {web: 0%, code: 100%}"), {"web": ["low"]})
    assert shares_of(none, low=300) == {"code": Fraction(1)}
    alone = with_parts(load_split(mixture="main: {web: 60%, web/mid: 40%}"), {"web": ["mid"]})
    with pytest.raises(SpecError, match=r"mixtures\.main\.web: parts of web without a written share have no tokens"):
        shares_of(alone, mid=100)


def test_the_weight_of_a_split_source_is_dealt_out_among_its_parts(load_split: Callable[..., Spec]) -> None:
    more = "objective: {heldout_bpb: {web: 1, web/low: 2, code: 1}}\n"
    spec = with_parts(load_split(more), {"web": ["low", "mid", "high"]})
    assert spec.objective is not None
    assert spec.objective.heldout_bpb == {
        "web/low": 2,
        "web/mid": Fraction(1, 2),
        "web/high": Fraction(1, 2),
        "code": 1,
    }


def test_a_weight_that_no_part_is_left_for_is_refused(load_split: Callable[..., Spec]) -> None:
    more = "objective: {heldout_bpb: {web: 1, web/low: 2, web/high: 1}}\n"
    with pytest.raises(SpecError, match=r"objective\.heldout_bpb\.web: every part of web has its own weight"):
        with_parts(load_split(more), {"web": ["low", "high"]})


@pytest.mark.parametrize(
    ("values", "more", "said"),
    [
        ([], "", r"sources\.web\.split_by: no record with a text has a value in the column 'quality'"),
        (
            ["low", "hihg"],
            "",
            r"mixtures\.main\.web/high: source 'web' has no part.*mean 'web/hihg'",
        ),
        (["high"], "dedup: {keep: [web/low]}\n", r"dedup\.keep\[0\]: source 'web' has no part 'web/low'"),
        (
            [f"{n}" for n in range(1001)],
            "",
            r"the column 'quality' has more than 1,000 values \('0', '1', '2', \.\.\.\)",
        ),
        (["high", "x" * 151], "", r"a value that is too long for a name: 'xxx"),
    ],
)
def test_values_that_cannot_be_parts_are_refused(
    values: list[str], more: str, said: str, load_split: Callable[..., Spec]
) -> None:
    with pytest.raises(SpecError, match=said):
        with_parts(load_split(more), {"web": values})


def test_before_a_build_the_parts_are_those_that_the_spec_names(load_split: Callable[..., Spec]) -> None:
    named = with_named_parts(load_split("dedup: {keep: [web/a%20b]}\n"))
    assert list(named.sources) == ["web/a%20b", "web/high", "code", "wiki"]
    rule = with_named_parts(load_split(mixture="main: {rule: proportional}"))
    assert list(rule.sources) == ["web/unread", "code", "wiki"]
