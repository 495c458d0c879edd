"""From a spec and a build to runs: mixtures × proxies × seeds, each with its budget, recipe and draws.

All runs of a spec share one draw a source, large enough for the most demanding of them, so that they read the same
text in the same order as far as each gets. Where the spec simulates its target, each proxy has a cut of its own, which
all its mixtures share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget, budget_run
from mixproof.mixtures.arithmetic.caps import check_caps, cuts_of
from mixproof.mixtures.quantities import exact_string
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.train_spec import Proxy
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.train.data.draw import find_draw, make_draw
from mixproof.train.proxies import architecture_of
from mixproof.train.record import ArchitectureRecord, MasksRecord
from mixproof.train.request import Draw, InitialCheckpoint, Recipe, Resources, RunRequest

Budgets = dict[tuple[str, str], RunBudget]
"""By (mixture, proxy)."""
Wanted = tuple[str, int, int | None]
"""A draw as it is asked for: source, tokens that it holds at least, tokens to which the source is cut."""


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
        cuts_of(spec, budget, tokens_of)
    return budgets


def check_schedule(budget: RunBudget, name: str) -> None:
    """Check that a run has room for its warm-up.

    Raises:
        RequestError: naming the run `name`, what it has and what it needs.
    """
    if budget.warmup_steps >= budget.steps:
        raise RequestError(
            f"{name}: {budget.steps} steps end before or with their {budget.warmup_steps} of warm-up (rounded up to "
            "whole steps); give the run more tokens, a smaller global_batch_size, or a warm-up of 0%"
        )


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
        device: what runs are trained on whose proxy does not say; no part of their keys.
        least_tokens: by source, what a draw must supply at least: families that are planned one after the other,
            as the rounds of a search, then share their draws, and with them their streams.

    Raises:
        RequestError: as `plan_budgets`; or a draw is missing and there is no cluster to make it.
    """
    tokens_of = {name: source.train.tokens for name, source in manifest.sources.items()}
    budgets = plan_budgets(spec, tokens_of)
    wanted = _wanted_draws(spec, budgets, tokens_of, least_tokens or {})
    initial = _initial(spec, manifest)
    made = _draws(manifest, store, cluster, sorted(set(wanted.values()), key=str))
    draws = {proxy_and_source: made[draw] for proxy_and_source, draw in wanted.items()}
    return [
        _request(spec, manifest, store, (mixture, proxy, seed), budget, draws, device, initial)
        for (mixture, proxy), budget in budgets.items()
        for seed in spec.train.seeds
    ]


def _initial(spec: Spec, manifest: Manifest) -> InitialCheckpoint | None:
    """The checkpoint that all runs start from, held against the shape of every proxy."""
    asked = spec.train.init_from
    if asked is None:
        return None
    from mixproof.train.checkpoint.initial import check_initial, find_initial  # torch, for this alone

    initial = find_initial(Path(asked.checkpoint), manifest.tokenizer.sha256, optimizer=asked.optimizer)
    for name, proxy in spec.train.proxies.items():
        try:
            check_initial(initial, architecture_of(name, proxy), manifest.tokenizer.vocab_size, spec.train.rope_base)
        except RequestError as error:
            raise RequestError(f"{spec.where('train', 'init_from')}: proxy {name}: {error}") from None
    return initial


def _wanted_draws(
    spec: Spec, budgets: Budgets, tokens_of: Mapping[str, int], least_tokens: Mapping[str, int]
) -> dict[tuple[str, str], Wanted]:
    """Draws by proxy and source: what the most demanding run reads in one pass, or what the proxy is to see at all."""
    need = dict(least_tokens)
    for budget in budgets.values():
        for source, samples in budget.samples_of.items():
            need[source] = max(need.get(source, 0), samples * budget.sequence_length + 1)
    wanted: dict[tuple[str, str], Wanted] = {}
    for (_, proxy), budget in budgets.items():
        cuts = cuts_of(spec, budget, tokens_of)
        for source in budget.samples_of:
            wanted[proxy, source] = (source, cuts[source], cuts[source]) if cuts else (source, need[source], None)
    return wanted


def _draws(manifest: Manifest, store: Store, cluster: Cluster | None, wanted: Sequence[Wanted]) -> dict[Wanted, Draw]:
    found = {draw: find_draw(store, manifest, *draw) for draw in wanted}
    missing = [draw for draw, there in found.items() if there is None]
    if missing and cluster is None:
        names = ", ".join(dict.fromkeys(source for source, _, _ in missing))
        raise RequestError(f"no run has been trained yet: {names} not drawn; `mixproof train` does it")
    draws = {draw: there for draw, there in found.items() if there is not None}
    if cluster is not None:
        calls = [(str(store), manifest.build, *draw) for draw in missing]
        made = cluster.run(_draw_task, calls, label="draw")
        draws.update(zip(missing, made, strict=True))
        cluster.count(run=len(missing), reused=len(found) - len(missing))
    return draws


def _draw_task(store_url: str, build: str, source: str, need_tokens: int, cut_tokens: int | None) -> Draw:
    store = Store(store_url)
    manifest = read_manifest(store.path(f"{BUILDS}/{build}/{MANIFEST}"))
    return make_draw(store, manifest, source, need_tokens, cut_tokens)


def _request(
    spec: Spec,
    manifest: Manifest,
    store: Store,
    run: tuple[str, str, int],
    budget: RunBudget,
    draws: Mapping[tuple[str, str], Draw],
    device: Literal["cpu", "cuda"],
    initial: InitialCheckpoint | None,
) -> RunRequest:
    mixture, proxy_name, seed = run
    train, proxy = spec.train, spec.train.proxies[proxy_name]
    optimizer = train.optimizer
    resources = _resources(proxy, device)
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
        draws={source: draws[proxy_name, source] for source in budget.samples_of},
        heldout={name: source.heldout for name, source in manifest.sources.items() if source.heldout.documents},
        device="cuda" if resources.gpus else "cpu",
        micro_batch_size=proxy.micro_batch_size,
        resources=resources,
        evaluate_steps=_steps(train.evaluate_every, budget),
        recompute=proxy.recompute,
        checkpoint_keep=train.checkpoint_keep,
        init_from=initial,
    )


def _steps(tokens: int | None, budget: RunBudget) -> int | None:
    """Whole steps that hold `tokens`."""
    return None if tokens is None else -(-tokens // (budget.sequence_length * budget.global_batch_size))


def _resources(proxy: Proxy, device: Literal["cpu", "cuda"]) -> Resources:
    gpus = proxy.gpus if proxy.gpus is not None else int(device == "cuda")
    return Resources(ranks=proxy.ranks, cpus=float(proxy.cpus), gpus=float(gpus))
