"""Arguments of checkpoints: the tokens behind them, and models that only look like proxies."""

from __future__ import annotations

from argparse import Namespace

import pytest

from mixproof.ledger.errors import RequestError
from mixproof.train.checkpoint.checkpoint_arguments import check_arguments, prior_tokens


def test_tokens_are_samples_times_length_and_what_was_before() -> None:
    arguments = Namespace(consumed_train_samples=1000, seq_length=64)
    assert prior_tokens(arguments, "x.pt") == 64_000
    arguments.prior_tokens = 500
    assert prior_tokens(arguments, "x.pt") == 64_500
    with pytest.raises(RequestError, match=r"x\.pt: args\.consumed_train_samples or args\.seq_length is missing"):
        prior_tokens(Namespace(seq_length=64), "x.pt")


def test_arguments_of_a_proxy_and_none_at_all_are_taken() -> None:
    theirs = Namespace(rotary_base=10_000, norm_epsilon=1e-5, normalization="RMSNorm", swiglu=True, rotary_percent=1)
    check_arguments(theirs, 10_000, "x.pt")
    check_arguments(None, 500_000, "x.pt")


def test_another_base_of_the_rotary_positions_is_named_with_the_way_out() -> None:
    with pytest.raises(
        RequestError, match=r"x\.pt: .* a rotary base of 1000000, the spec of 10000; .*rope_base: 1000000`"
    ):
        check_arguments(Namespace(rotary_base=1_000_000), 10_000, "x.pt")


def test_everything_that_computes_otherwise_is_named() -> None:
    theirs = Namespace(apply_layernorm_1p=True, norm_epsilon=1e-6, swiglu=True, rotary_percent=0.5)
    with pytest.raises(
        RequestError, match=r"rotary_percent 0\.5, norm_epsilon 1e-06, apply_layernorm_1p True; a proxy cannot start"
    ):
        check_arguments(theirs, 10_000, "x.pt")
