"""Megatron's flags for muP."""

from __future__ import annotations

from mixproof.mixtures.blocks.train import Proxy
from mixproof.train.export.stock_megatron.mup_flags import mup_flags


def flags(mup: dict[str, object] | None) -> list[str]:
    return mup_flags("nano", Proxy.model_validate({"tokens": 10, "global_batch_size": 1, "lr": 0.1, "mup": mup}))


def test_the_output_factor_is_that_of_this_width_and_never_exactly_one() -> None:
    base = ["--use-mup", "--mup-base-hidden-size 16", "--mup-base-head-dim 16"]
    assert flags(None) == []
    assert flags({"base_hidden": 16}) == base
    assert flags({"base_hidden": 16, "output": 2}) == [*base, "--mup-output-mult 0.5"]
    # nano is 64 wide: 4 / 4 is 1, which Megatron reads as "not given" and replaces by 1/4
    assert flags({"base_hidden": 16, "output": 4}) == [*base, "--mup-output-mult 1.000000001"]
