"""The space of a spec, by hand-computed supplies."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from mixproof.mixtures.blocks.search import Search
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.setup.candidate_runs import CandidateRuns
from mixproof.mixtures.search.setup.supply import runs_of
from mixproof.mixtures.spec import Spec

LoadWith = Callable[[str, str], Spec]
TOKENS = {"web": 10_001, "code": 101, "wiki": 11}
HALF = Fraction(1, 2)
DECAY = Search(phase="decay")
TARGET = "target: {tokens: 20_000, max_epochs: {code: 8}}\nmixtures:"


def test_without_a_target_caps_speak_of_the_proxy_s_windows(small: Spec) -> None:
    # 100 samples of 10; code has 10 windows and wiki 1, and 4 epochs of them are 40 and 4 samples
    space = runs_of(small, "nano", TOKENS).space
    assert space.sources == ("code", "web", "wiki")
    assert space.most_units == (4000, 10_000, 400)
    assert space.least_units == (100, 100, 100)  # one sample of 100
    assert space.center == (Fraction(100, 10_000), Fraction(9889, 10_000), Fraction(11, 10_000))


def test_with_a_target_caps_speak_of_the_target_s_tokens(load_with: LoadWith) -> None:
    # 8 epochs of 101 are 808 of 20,000, 4.04%; 4 of 11 are 44, .22%, below the floor of 1%; 4 of 10,001 are all
    space = runs_of(load_with("mixtures:", TARGET), "nano", TOKENS).space
    assert space.most_units == (404, 10_000, 0)
    assert space.anchor == (100, 9900, 0)


def test_a_source_without_a_window_is_out(small: Spec) -> None:
    assert runs_of(small, "nano", TOKENS | {"wiki": 10}).space.most_units == (4000, 10_000, 0)


def test_sources_that_cannot_fill_a_run_are_an_error(small: Spec) -> None:
    with pytest.raises(SpecError, match="no mixture stays within supply and caps"):
        runs_of(small, "nano", {"web": 101, "code": 101, "wiki": 11})


def test_draws_hold_the_most_that_any_candidate_may_read(small: Spec) -> None:
    # 40, 100 and 4 of 100 samples of 10 targets, and the token before the first
    assert runs_of(small, "nano", TOKENS).draw_tokens() == {"code": 401, "web": 1001, "wiki": 41}


SEARCH = "mixtures:\n  main: {web: 70%, code: 20%, wiki: 10%}\n"


def searching(load_with: LoadWith, search: str, wsd: str = "") -> CandidateRuns:
    """The candidates of the small spec with a block `search`."""
    proxies = f"{wsd}  proxies:\n    nano: {{tokens: 1000, global_batch_size: 2, lr: 1.0e-3}}\nsearch: {search}\n"
    spec = load_with("  proxies:\n    nano: {tokens: 1000, global_batch_size: 2, lr: 1.0e-3}\n", proxies)
    return runs_of(spec, "nano", TOKENS, spec.search)


def test_a_fixed_share_is_in_every_mixture_and_the_others_divide_the_rest(load_with: LoadWith) -> None:
    runs = searching(load_with, "{fixed: {code: 20%}}")
    space = runs.space
    assert space.sources == ("web", "wiki")
    assert space.center == (Fraction(9989, 10_000), Fraction(11, 10_000))
    assert space.most_units == (10_000, 500)  # 4% of the run are 5% of what is searched
    assert space.least_units == (125, 125)  # one sample of 100 is 1.25% of the 80 that are searched
    assert space.mixture((9750, 250)) == {"code": Fraction(1, 5), "web": Fraction(78, 100), "wiki": Fraction(2, 100)}
    assert space.by_source((0.75, 0.25)) == pytest.approx({"code": 0.2, "web": 0.6, "wiki": 0.2})
    assert runs.draw_tokens() == {"code": 201, "web": 801, "wiki": 41}


def test_a_group_keeps_its_ratio_and_its_total_is_searched(load_with: LoadWith) -> None:
    space = searching(load_with, "{fixed: {text: {of: {code: 2, wiki: 1}}}}").space
    assert space.sources == ("text", "web")
    assert space.center == (Fraction(111, 10_000), Fraction(9889, 10_000))  # 101 and 11 of 10,113 tokens
    assert space.most_units == (1200, 10_000)  # wiki reaches its 4% of the run when the group has 12%
    assert space.least_units == (300, 100)  # wiki's third is one sample of 100
    assert space.mixture((900, 9100)) == {"code": Fraction(6, 100), "web": Fraction(91, 100), "wiki": Fraction(3, 100)}


def test_a_group_with_a_share_fixes_all_of_its_members(load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match="search.fixed: leaves only 'web' to vary"):
        searching(load_with, "{fixed: {text: {share: 30%, of: {code: 2, wiki: 1}}}}")
    with pytest.raises(
        SpecError, match=r"search.fixed.wiki: wiki is fixed at 10%, but supply and caps allow at most 4%"
    ):
        searching(load_with, "{fixed: {wiki: 10%}}")
    with pytest.raises(SpecError, match=r"search.fixed.wiki: wiki is fixed at 0.5%, which is less than one sample"):
        searching(load_with, "{fixed: {wiki: 0.5%}}")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{fixed: {cod: 20%}}", r"spec.yaml:\d+: search.fixed.cod: there is no source 'cod'; did you mean 'code'\?"),
        ("{fixed: {code: 120%}}", "search.fixed.code: a share must be between 0 and 1"),
        ("{fixed: {code: {share: 20%}}}", "search.fixed.code: a group needs members by parts"),
        ("{fixed: {text: {of: {code: 0}}}}", "search.fixed.text.of: the parts sum to 0"),
        ("{fixed: {code: 20%, text: {of: {code: 1, web: 1}}}}", "search.fixed.text: source 'code' is also in 'code'"),
        (
            "{fixed: {web: {of: {code: 1, wiki: 1}}}}",
            "fixed.web: is the name of a source that is not in",
        ),
        (
            "{fixed: {code: 60%, web: 40%}}",
            "fixed: the fixed shares sum to 100%, which leaves nothing",
        ),
        ("{trunk: main}", "search.trunk: applies only to `phase: decay`"),
        ("{race: {rungs: [20%, 10%]}}", r"search.race.rungs: 20%, 10%: give ascending shares of the tokens above 0%"),
        ("{race: {confidence: 40%}}", "search.race.confidence: 40%: give a share from 50% to below 100%"),
        ("{race: {}, phase: decay}", "search.race: cannot be combined with `phase: decay`"),
        ("{race: {}, repeats: 1}", "search.race: needs `repeats` of at least 2"),
        (
            "{race: {rungs: [2%]}}",
            r"search.race.rungs: at proxy nano the run to 2% has a phase without a step \(50 steps",
        ),
        ("{phase: decay, trunk: man}", "search.trunk: there is no mixture 'man'; did you mean 'main'?"),
    ],
)
def test_what_is_wrong_with_a_search_is_said_with_line_and_key(load_with: LoadWith, search: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        searching(load_with, search)


def test_candidates_that_race_have_a_sample_of_each_source_in_every_phase(load_with: LoadWith) -> None:
    runs = searching(load_with, "{race: {rungs: [20%]}}")
    # 50 steps of 2 samples: the rung ends its trunk at step 8 and its decay at step 10; 1 of 4 samples is 25%
    assert runs.space.least_units == (2500,) * 3 and runs.space.most_units == (4000, 10_000, 0)
    # 40 and 100 samples, and one more for each of two phases that may round up
    assert runs.draw_tokens() == {"code": 421, "web": 1021}
    half = (5000, 5000, 0)
    for part, ends in ((Fraction(1, 5), [(4, 25), (1, 5)]), (Fraction(1), [(4, 25), (4, 5), (1, 1)])):
        phases = runs.run(half, part).phases
        assert [phase.until for phase in phases] == [Fraction(*end) for end in ends]
        assert {tuple((phase.shares or {}).items()) for phase in phases} == {(("code", HALF), ("web", HALF))}
        assert [phase.decay for phase in phases] == [False] * (len(phases) - 1) + [True]
    assert runs.mixture(half).shares == {"code": HALF, "web": HALF}


def test_a_decay_needs_a_stable_phase_before_it(load_with: LoadWith) -> None:
    with pytest.raises(SpecError, match="search.phase: needs a stable phase and a decay, but .* a decay of 0%"):
        searching(load_with, "{phase: decay}", "  schedule: {wsd: {decay: 0%}}\n")


def test_the_decay_is_searched_after_a_trunk_within_caps_over_the_whole_run(load_with: LoadWith) -> None:
    # main: 70% web, 20% code, 10% wiki; wiki supplies 4 of 100 samples, and the trunk alone takes 8
    with pytest.raises(SpecError, match=r"search: the trunk alone uses 2 times what wiki supplies within its cap"):
        searching(load_with, "{phase: decay}")
    runs = runs_of(load_with(SEARCH, "mixtures:\n  main: {web: 70%, code: 30%}\n"), "nano", TOKENS, DECAY)
    # code supplies 40 samples, the trunk takes 24, so 16 of the 20 samples of the decay are left
    assert runs.trunk is not None and runs.trunk.samples_of == {"code": 24, "web": 56} and runs.samples == 20
    assert dict(zip(runs.space.sources, runs.space.most_units, strict=True)) == {
        "code": 8000,
        "web": 10_000,
        "wiki": 2000,
    }
    assert runs.space.anchor == (3000, 7000, 0)  # the trunk goes on
    assert runs.draw_tokens() == {"code": 401, "web": 761, "wiki": 41}
    trunk, decay = runs.mixture((5000, 3000, 2000)).phases
    assert trunk.shares == {"web": Fraction(7, 10), "code": Fraction(3, 10)} and trunk.until == Fraction(8, 10)
    assert decay.decay and decay.until == 1
    assert decay.shares == {"code": Fraction(1, 2), "web": Fraction(3, 10), "wiki": Fraction(1, 5)}


def test_with_a_target_the_caps_of_a_decay_are_shares_of_the_target(load_with: LoadWith) -> None:
    spec = load_with(
        SEARCH, TARGET.replace("mixtures:", SEARCH.replace(", code: 20%, wiki: 10%", "").replace("70", "100"))
    )
    # code supplies 4.04% of the target, all of it in the last 20%: 20.2%
    runs = runs_of(spec, "nano", TOKENS, DECAY)
    assert runs.space.most_units == (2020, 10_000, 0)
    assert runs.space.anchor == (0, 10_000, 0)
