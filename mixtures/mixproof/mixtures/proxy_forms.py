"""Expand the shorthands of `train.proxies`: a list of token budgets, and the default of `min_lr`.

A rate that a sweep chooses has no `min_lr` yet.

A proxy with a list of token budgets stands for one proxy per budget: `62m` with `tokens: [500M, 1B]` becomes `62m-500M`
and `62m-1B`, both with the shape of `62m`. That is how a ladder of sizes and budgets is written.
"""

from __future__ import annotations

from typing import Any

from .key_positions import Problem
from .values.quantities import parse_number


def normalize_proxies(proxies: Any, problems: list[Problem]) -> Any:  # noqa: ANN401  any YAML value
    """Return one entry per proxy and budget; names that occur twice are added to `problems`."""
    if not isinstance(proxies, dict):
        return proxies
    found: dict[str, Any] = {}
    for name, proxy in proxies.items():
        for expanded, one in _by_budget(name, _with_min_lr(proxy), problems):
            if expanded in found or (expanded != name and expanded in proxies):
                problems.append(Problem(("train", "proxies", name), f"there are two proxies {expanded!r}; rename one"))
            found[expanded] = one
    return found


def _by_budget(name: str, proxy: Any, problems: list[Problem]) -> list[tuple[str, Any]]:  # noqa: ANN401  any YAML value
    if not isinstance(proxy, dict) or not isinstance(proxy.get("tokens"), list):
        return [(name, proxy)]
    if not proxy["tokens"]:
        problems.append(Problem(("train", "proxies", name, "tokens"), "is empty; give at least one token budget"))
    shape = {} if "architecture" in proxy or "shape" in proxy else {"shape": name}
    return [(f"{name}-{tokens}", {**proxy, **shape, "tokens": tokens}) for tokens in proxy["tokens"]]


def _with_min_lr(proxy: Any) -> Any:  # noqa: ANN401  any YAML value
    if not isinstance(proxy, dict) or "min_lr" in proxy:
        return proxy
    if "lr" not in proxy:
        return {**proxy, "min_lr": 0}  # the model reports that `lr` is missing
    if isinstance(proxy["lr"], dict):
        return proxy
    try:
        return {**proxy, "min_lr": parse_number(proxy["lr"]) / 10}
    except ValueError:
        return {**proxy, "min_lr": 0}  # the model reports what is wrong with `lr`
