"""From a spec and a build to runs: mixtures × proxies × seeds, each with its budget, recipe and draws.

All runs of a spec share one draw a source, large enough for the most demanding of them, so that they read the same
text in the same order as far as each gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.budget import RunBudget, budget_run
from mixproof.mixtures.caps import check_caps
from mixproof.mixtures.quantities import exact_string
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster import Cluster

from .draw import Draw, find_draw, make_draw
from .proxies import architecture_of
from .record import ArchitectureRecord, MasksRecord
from .request import Recipe, RunRequest
from .schedule import check_schedule

Budgets = dict[tuple[str, str], RunBudget]
"""By (mixture, proxy)."""


def plan_budgets(spec: Spec, tokens_of: Mapping[str, int]) -> Budgets:
    """Budget every mixture at every proxy, and check caps, shapes and schedules.

    Args:
        spec: a checked spec.
        tokens_of: training tokens of every source, EODs included.

    Raises:
        RequestError: for what cannot be trained as asked, before anything is done.
    """
    for name, recipe in spec.train.proxies.items():
        architecture_of(name, recipe)
    pairs = [(mixture, proxy) for mixture in spec.mixtures for proxy in spec.train.proxies]
    budgets = {(mixture, proxy): budget_run(spec, mixture, proxy, tokens_of) for mixture, proxy in pairs}
    check_caps(spec, budgets, tokens_of)
    for (mixture, proxy), budget in budgets.items():
        check_schedule(budget, f"mixture {mixture} at proxy {proxy}")
    return budgets


def plan_requests(
    spec: Spec,
    manifest: Manifest,
    store: Store,
    cluster: Cluster | None,
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    least_tokens: Mapping[str, int] | None = None,
) -> list[RunRequest]:
    """List the runs of a spec on a build, with their draws made.

    Args:
        spec: a checked spec.
        manifest: of its build, which lies in `store`.
        store: where draws and runs are.
        cluster: makes the draws that are missing; None: do not make any, only look.
        device: what the runs are trained on; no part of their keys.
        least_tokens: by source, what a draw must supply at least: families that are planned one after the other,
            as the rounds of a search, then share their draws, and with them their streams.

    Raises:
        RequestError: as `plan_budgets`; or a draw is missing and there is no cluster to make it.
    """
    budgets = plan_budgets(spec, {name: source.train.tokens for name, source in manifest.sources.items()})
    need = {name: max(tokens, (least_tokens or {}).get(name, 0)) for name, tokens in _tokens_needed(budgets).items()}
    draws = _draws(manifest, store, cluster, need)
    return [
        _request(spec, manifest, store, (mixture, proxy, seed), budget, draws, device)
        for (mixture, proxy), budget in budgets.items()
        for seed in spec.train.seeds
    ]


def _tokens_needed(budgets: Budgets) -> dict[str, int]:
    """Tokens that the most demanding run reads of each source in one pass, by name."""
    need: dict[str, int] = {}
    for budget in budgets.values():
        for source, samples in budget.samples_of.items():
            need[source] = max(need.get(source, 0), samples * budget.sequence_length + 1)
    return dict(sorted(need.items()))


def _draws(manifest: Manifest, store: Store, cluster: Cluster | None, need: dict[str, int]) -> dict[str, Draw]:
    found = {source: find_draw(store, manifest, source, tokens) for source, tokens in need.items()}
    missing = [source for source, draw in found.items() if draw is None]
    if missing and cluster is None:
        raise RequestError(f"no run has been trained yet: {', '.join(missing)} not drawn; `mixproof train` does it")
    draws = {source: draw for source, draw in found.items() if draw is not None}
    if cluster is not None:
        calls = [(str(store), manifest.build, source, need[source]) for source in missing]
        made = cluster.run(_draw_task, calls, label="draw")
        draws.update(zip(missing, made, strict=True))
        cluster.count(run=len(missing), reused=len(found) - len(missing))
    return draws


def _draw_task(store_url: str, build: str, source: str, need_tokens: int) -> Draw:
    store = Store(store_url)
    return make_draw(store, read_manifest(store.path(f"{BUILDS}/{build}/{MANIFEST}")), source, need_tokens)


def _request(
    spec: Spec,
    manifest: Manifest,
    store: Store,
    run: tuple[str, str, int],
    budget: RunBudget,
    draws: Mapping[str, Draw],
    device: Literal["cpu", "cuda"],
) -> RunRequest:
    mixture, proxy_name, seed = run
    train, proxy = spec.train, spec.train.proxies[proxy_name]
    optimizer = train.optimizer
    return RunRequest(
        store=str(store),
        build=manifest.build,
        spec_name=spec.name,
        mixture=mixture,
        proxy=proxy_name,
        seed=seed,
        architecture=ArchitectureRecord(**architecture_of(proxy_name, proxy).model_dump()),
        recipe=Recipe(
            lr=exact_string(proxy.lr),
            min_lr=exact_string(proxy.min_lr),
            shape=train.schedule.wsd.shape,
            weight_decay=exact_string(optimizer.weight_decay),
            clip=exact_string(optimizer.clip),
            betas=(exact_string(optimizer.betas[0]), exact_string(optimizer.betas[1])),
        ),
        masks=MasksRecord(
            document_mask=train.document_mask,
            eod_mask_loss=train.eod_mask_loss,
            reset_position_ids=train.reset_position_ids,
        ),
        rope_base=train.rope_base,
        budget=budget,
        tokenizer=manifest.tokenizer,
        draws={source: draws[source] for source in budget.samples_of},
        heldout={name: source.heldout for name, source in manifest.sources.items() if source.heldout.documents},
        device=device,
        micro_batch_size=proxy.micro_batch_size,
    )
