"""The draws that the runs of a spec share: how large each is, and the missing ones made by Ray.

A source that runs read at several sequence lengths is divided among them in the order of text hashes, so that no
document is read at two lengths: the run's own length comes first, then the others, the shortest first. Each gets its
need rounded up to a power of two; if the source has fewer tokens than that, it is divided in proportion to the needs,
and every part is repeated equally often. Draws of long documents (`min_tokens`) take those behind these parts first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.caps import cuts_of
from mixproof.mixtures.arithmetic.phase_streams import source_of_stream
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.data.draw import DrawSize, find_draw, make_draw, round_up_to_power_of_two
from mixproof.train.request import Draw

Budgets = dict[tuple[str, str], RunBudget]
"""By (mixture, proxy)."""


def tokens_of_runs(budgets: Budgets, least_tokens: Mapping[str, int]) -> dict[str, int]:
    """Tokens of each stream that the largest run reads in one pass, and at least `least_tokens`."""
    need = dict(least_tokens)
    for budget in budgets.values():
        for stream, tokens in budget.tokens_of_streams.items():
            need[stream] = max(need.get(stream, 0), tokens + 1)
    return need


def draw_sizes(
    spec: Spec, budgets: Budgets, tokens_of: Mapping[str, int], need: Mapping[str, int]
) -> dict[tuple[str, str], DrawSize]:
    """By (proxy, stream): what the largest run reads in one pass, or the cut of a simulated target.

    Raises:
        RequestError: when a source has too few tokens for a sample at every length.
    """
    if spec.train.stage != "pretrain":  # whole sources
        return {
            (proxy, source): DrawSize(source, tokens_of[source])
            for (_, proxy), budget in budgets.items()
            for source in budget.samples_of
        }
    lengths = {name: length for budget in budgets.values() for name, length in budget.lengths_of_streams.items()}
    shared: dict[str, DrawSize] = {}
    for source in {source_of_stream(name) for name in lengths}:
        bounds = {name: bound for budget in budgets.values() for name, bound in budget.bounds_of_streams.items()}
        names = {name: length for name, length in lengths.items() if source_of_stream(name) == source}
        shared |= _sizes_of_source(source, names, bounds, need, tokens_of[source])
    sizes: dict[tuple[str, str], DrawSize] = {}
    for (_, proxy), budget in budgets.items():
        cuts = cuts_of(spec, budget, tokens_of)
        for name in budget.tokens_of_streams:
            sizes[proxy, name] = DrawSize(name, cuts[name], cuts[name]) if cuts else shared[name]
    return sizes


def _sizes_of_source(
    source: str, lengths: Mapping[str, int], bounds: Mapping[str, int], need: Mapping[str, int], tokens: int
) -> dict[str, DrawSize]:
    """The draws of one source by stream; `bounds` has the `min_tokens` of the streams that have one."""
    plain = sorted((name for name in lengths if name not in bounds), key=lambda name: (name != source, lengths[name]))
    sizes = {name: DrawSize(source, need[name]) for name in plain}
    rounded = {name: round_up_to_power_of_two(need[name]) for name in plain}
    total, parts = sum(need[name] for name in plain), [min(rounded[name], tokens) for name in plain]
    if len(plain) > 1:
        is_short = sum(rounded.values()) > tokens
        parts = [tokens * need[name] // total if is_short else rounded[name] for name in plain]
        for number, name in enumerate(plain):
            if parts[number] <= lengths[name]:
                raise RequestError(
                    f"source {source}: its {tokens:,} tokens are divided among {len(plain)} sequence lengths, and "
                    f"{parts[number]:,} of them are too few for one sample of {lengths[name]:,} + 1; add text, or read "
                    "it at one length only"
                )
            if number or is_short:
                part = tuple(parts[: number + 1])
                sizes[name] = DrawSize(source, need[name], part=part, is_all_there_is=is_short)
    for name in lengths:
        if name in bounds:
            sizes[name] = DrawSize(source, need[name], min_tokens=bounds[name], other_parts=tuple(parts))
    return sizes


def find_draws(
    manifest: Manifest, store: Store, cluster: Cluster | None, sizes: Sequence[DrawSize]
) -> dict[DrawSize, Draw]:
    """Find the draws of the store, and make the missing ones.

    Raises:
        RequestError: when one is missing and `cluster` is None.
    """
    found = {size: find_draw(store, manifest, size) for size in sizes}
    missing = [size for size, draw in found.items() if draw is None]
    if missing and cluster is None:
        names = ", ".join(dict.fromkeys(size.source for size in missing))
        raise RequestError(f"no run has been trained yet (no draw of {names}); `mixproof train` makes draws and runs")
    draws = {size: draw for size, draw in found.items() if draw is not None}
    if cluster is not None:
        calls = [(str(store), manifest.build, size) for size in missing]
        made = cluster.run(_draw_task, calls, label="draw")
        draws.update(zip(missing, made, strict=True))
        cluster.count(run=len(missing), reused=len(found) - len(missing))
    return draws


def _draw_task(store_url: str, build: str, size: DrawSize) -> Draw:
    store = Store(store_url)
    return make_draw(store, read_manifest(store.path(f"{BUILDS}/{build}/{MANIFEST}")), size)
