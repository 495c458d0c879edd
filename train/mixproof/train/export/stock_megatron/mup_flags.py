"""Flags with which Megatron-LM (after Core 0.16) trains a proxy with the same muP scaling."""

from __future__ import annotations

from mixproof.mixtures.blocks.train import Proxy
from mixproof.train.proxies import architecture_of

NEARLY_ONE = 1.000000001
"""Megatron takes an output factor of exactly 1 as not given, and divides the logits by the width ratio."""


def mup_flags(proxy: str, recipe: Proxy) -> list[str]:
    """Flags for muP; with the base head size, attention is scaled by 1 / sqrt(head size), as here.

    Args:
        proxy: its name.
        recipe: of this proxy.
    """
    if recipe.mup is None:
        return []
    shape, base = architecture_of(proxy, recipe), recipe.mup.base_hidden
    flags = ["--use-mup", f"--mup-base-hidden-size {base}", f"--mup-base-head-dim {shape.head_dim}"]
    if recipe.mup.output != 1:
        factor = recipe.mup.output * base / shape.hidden
        flags.append(f"--mup-output-mult {NEARLY_ONE if factor == 1 else float(factor)}")
    return flags
