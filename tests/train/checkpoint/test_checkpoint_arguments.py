"""Arguments of checkpoints: the tokens behind them, and models that only look like proxies."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields

import pytest
from megatron.core.transformer.transformer_config import TransformerConfig

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.checkpoint.checkpoint_arguments import (
    CHECKED_ELSEWHERE,
    OF_A_PROXY,
    check_arguments,
    check_heads,
    harmless_arguments,
    prior_tokens,
)

SHAPE = Architecture(layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("position_embedding_type", "learned_absolute"),
        ("position_embedding_type", "none"),
        ("use_rope_scaling", True),
        ("rotary_seq_len_interpolation_factor", 4),
        ("rotary_interleaved", True),
        ("no_rope_freq", 4),
        ("no_rope_freq", [0, 1]),
        ("normalization", "LayerNorm"),
        ("apply_residual_connection_post_layernorm", True),
        ("squared_relu", True),
        ("quick_geglu", True),
        ("swiglu", False),
        ("swiglu", 1),
        ("glu_linear_offset", 1.0),
        ("activation_func_clamp_value", 7.0),
        ("softmax_scale", 0.25),
        ("softmax_type", "off-by-one"),
        ("window_size", (128, 0)),
        ("attention_output_gate", True),
        ("multi_latent_attention", True),
        ("num_experts", 8),
        ("moe_router_score_function", "sigmoid"),
        ("moe_router_topk_scaling_factor", 2.5),
        ("fp8", "hybrid"),
        ("fp4", "e2m1"),
        ("use_mup", True),
        ("mup_output_mult", 0.5),
        ("mtp_num_layers", 1),
        ("spec", ["module", "function"]),
        ("embedding_multiplier", 12.0),  # of no release of Megatron-LM
        ("logits_soft_cap", False),
    ],
)
def test_an_argument_that_is_not_known_to_leave_a_proxy_is_refused(name: str, value: object) -> None:
    with pytest.raises(RequestError, match=rf"x\.pt: .*{name} "):
        check_arguments(Namespace(**{name: value}), 10_000, "x.pt")


@pytest.mark.parametrize("base", [10_000.7, float("nan"), float("inf"), "10000", None])
def test_a_rotary_base_that_is_not_the_specs_whole_number_is_refused(base: object) -> None:
    with pytest.raises(RequestError, match=r"x\.pt: the checkpoint has a rotary base of .*a proxy's is a whole number"):
        check_arguments(Namespace(rotary_base=base), 10_000, "x.pt")


def test_arguments_of_training_and_features_that_are_off_are_taken() -> None:
    theirs = Namespace(
        lr=1e-3,
        hidden_dropout=0.1,
        bf16=True,
        tensor_model_parallel_size=1,
        wandb_project="x",
        moe_router_topk=2,  # Megatron-LM's default, also without experts
        num_experts=None,
        rope_scaling_factor=8.0,
        use_rope_scaling=False,
        fp8=None,
        mtp_num_layers=0,
        glu_linear_offset=0.0,
        something_new=None,
    )
    check_arguments(theirs, 10_000, "x.pt")


def test_every_field_of_megatrons_configuration_is_known() -> None:
    known = OF_A_PROXY.keys() | CHECKED_ELSEWHERE | harmless_arguments()
    assert {field.name for field in fields(TransformerConfig)} - known == set()
    assert not harmless_arguments() & (OF_A_PROXY.keys() | CHECKED_ELSEWHERE)


@pytest.mark.parametrize(
    ("theirs", "wrong"),
    [
        (
            {"num_attention_heads": 8, "num_query_groups": 4, "kv_channels": 4},
            "num_attention_heads 8 .the proxy has 4.",
        ),
        ({"num_attention_heads": 4, "group_query_attention": False, "num_query_groups": 1}, "num_query_groups 4"),
        ({"kv_channels": 16}, "kv_channels 16"),
        ({"num_layers": 3}, "num_layers 3"),
    ],
)
def test_heads_of_another_size_can_have_the_same_weights_and_are_refused(theirs: dict[str, int], wrong: str) -> None:
    check_heads(Namespace(num_attention_heads=4, num_query_groups=2, kv_channels=8, num_layers=2), SHAPE, "x.pt")
    check_heads(None, SHAPE, "x.pt")
    with pytest.raises(RequestError, match=rf"x\.pt: the checkpoint's model has another shape: .*{wrong}"):
        check_heads(Namespace(**theirs), SHAPE, "x.pt")


@pytest.mark.parametrize("samples", [True, -1, 2.5, None, "1000"])
def test_samples_that_are_no_count_are_refused(samples: object) -> None:
    arguments = Namespace(consumed_train_samples=samples, seq_length=64)
    with pytest.raises(RequestError, match="not a whole number"):
        prior_tokens(arguments, "x.pt")
