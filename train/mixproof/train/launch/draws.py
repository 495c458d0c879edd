"""The draws that the runs of a spec share: how large each is, and the missing ones made by Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.caps import cuts_of
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.data.draw import find_draw, make_draw
from mixproof.train.request import Draw

Budgets = dict[tuple[str, str], RunBudget]
"""By (mixture, proxy)."""
DrawSize = tuple[str, int, int | None]
"""A required draw: source, minimum tokens, and the tokens that the source is cut to (None: not cut)."""


def tokens_of_runs(budgets: Budgets, least_tokens: Mapping[str, int]) -> dict[str, int]:
    """Tokens of each source that the largest run reads in one pass, and at least `least_tokens`."""
    need = dict(least_tokens)
    for budget in budgets.values():
        for source, samples in budget.samples_of.items():
            need[source] = max(need.get(source, 0), samples * budget.sequence_length + 1)
    return need


def draw_sizes(
    spec: Spec, budgets: Budgets, tokens_of: Mapping[str, int], need: Mapping[str, int]
) -> dict[tuple[str, str], DrawSize]:
    """By (proxy, source): what the largest run reads in one pass, or the cut of a simulated target."""
    if spec.train.stage != "pretrain":  # whole sources
        return {
            (proxy, source): (source, tokens_of[source], None)
            for (_, proxy), budget in budgets.items()
            for source in budget.samples_of
        }
    sizes: dict[tuple[str, str], DrawSize] = {}
    for (_, proxy), budget in budgets.items():
        cuts = cuts_of(spec, budget, tokens_of)
        for source in budget.samples_of:
            sizes[proxy, source] = (source, cuts[source], cuts[source]) if cuts else (source, need[source], None)
    return sizes


def find_draws(
    manifest: Manifest, store: Store, cluster: Cluster | None, sizes: Sequence[DrawSize]
) -> dict[DrawSize, Draw]:
    """Find the draws of the store, and make the missing ones.

    Raises:
        RequestError: when one is missing and `cluster` is None.
    """
    found = {size: find_draw(store, manifest, *size) for size in sizes}
    missing = [size for size, draw in found.items() if draw is None]
    if missing and cluster is None:
        names = ", ".join(dict.fromkeys(source for source, _, _ in missing))
        raise RequestError(f"no run has been trained yet (no draw of {names}); `mixproof train` makes draws and runs")
    draws = {size: draw for size, draw in found.items() if draw is not None}
    if cluster is not None:
        calls = [(str(store), manifest.build, *size) for size in missing]
        made = cluster.run(_draw_task, calls, label="draw")
        draws.update(zip(missing, made, strict=True))
        cluster.count(run=len(missing), reused=len(found) - len(missing))
    return draws


def _draw_task(store_url: str, build: str, source: str, need_tokens: int, cut_tokens: int | None) -> Draw:
    store = Store(store_url)
    manifest = read_manifest(store.path(f"{BUILDS}/{build}/{MANIFEST}"))
    return make_draw(store, manifest, source, need_tokens, cut_tokens)
