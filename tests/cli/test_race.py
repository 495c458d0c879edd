"""`mixproof run --race` on the small corpus: stopped mixtures, their account, and a second run that trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import SPEC, Finished, write_experiment
from mixproof.cli.commands.race import race_options
from mixproof.ledger.errors import RequestError

Mixproof = Callable[..., Finished]
RACED = (
    SPEC.replace("tokens: 5120, global_batch_size: 8", "tokens: 7680, global_batch_size: 4")
    .replace("mixtures:\n", "mixtures:\n  half: {code: 50%, manual: 20%, guide: 30%, notes: 0%}\n")
    .replace("guide: 5%, notes: 5%", "guide: 10%, notes: 0%")
    .replace("{manual: 1, code: 1}", "{manual: 1}")
)


@pytest.mark.slow
def test_a_race_stops_a_mixture_closes_the_account_and_trains_nothing_twice(mixproof: Mixproof, tmp_path: Path) -> None:
    spec = write_experiment(tmp_path, RACED)
    arguments = (
        "run",
        spec,
        "--store",
        tmp_path / "store",
        "--race",
        "--rungs",
        "25%",
        "--confidence",
        "50%",
        "--json",
    )
    done = mixproof(*arguments, "--html", tmp_path / "page.html")
    assert done.code == 0, done.err
    found = done.json
    race = found["race"]
    # 30 steps of 256 tokens: rung 1 ends at step 8, the full run goes on from the trunk's end at step 6
    assert [rung["part"] for rung in race["rungs"]] == [0.25, 1]
    left = len(race["rungs"][1]["mixtures"])
    assert [rung["trained_tokens"] for rung in race["rungs"]] == [3 * 2 * 8 * 256, left * 2 * 24 * 256]
    assert race["full_tokens"] == 3 * 2 * 30 * 256
    assert race["tokens_saved"] == race["full_tokens"] - sum(rung["trained_tokens"] for rung in race["rungs"])
    assert sorted(race["stopped"]) == race["rungs"][0]["stopped"] and left + len(race["stopped"]) == 3
    assert all(stop["difference"] > 0 and 0 <= stop["p_value"] < 0.5 for stop in race["stopped"].values())
    assert len(found["train"]["runs"]) == 6 + 2 * left and found["train"]["failed"] == []
    assert found["audit"]["ok"] is True
    assert any("the race saved" in note or "no mixture was stopped" in note for note in found["compare"]["notes"])
    assert "of the tokens" in (tmp_path / "page.html").read_text() or not race["stopped"]
    again = mixproof(*arguments)
    assert all(again.json[key] == found[key] for key in ("race", "compare", "audit"))
    assert list((tmp_path / "store" / "trunk").glob("*/trunk.json"))


@pytest.mark.parametrize(
    ("rungs", "confidence", "message"),
    [
        ("20%,10%", None, "--rungs 20%,10%: give ascending shares"),
        ("100%", None, "--rungs 100%: give ascending shares"),
        ("ten", None, "--rungs ten: give ascending shares"),
        (None, "100%", "--confidence 100%: give a share from 50%"),
    ],
)
def test_wrong_options_of_a_race_are_refused(rungs: str | None, confidence: str | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        race_options(True, rungs, confidence)
    with pytest.raises(RequestError, match="need --race"):
        race_options(False, rungs, confidence)
