"""From a spec and a build to runs: mixtures × proxies × seeds, each with its budget, recipe and draws.

All runs of a spec share one draw per source, large enough for the run that needs most of it, so that all runs read the
same text in the same order up to the end of the shorter one. If the spec simulates its target, each proxy has its own
cut of every source, shared by all its mixtures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, MANIFEST, Manifest, read_manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget, budget_run
from mixproof.mixtures.arithmetic.caps import check_caps, cuts_of
from mixproof.mixtures.blocks.train import Proxy, Train
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import exact_string
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.tokenize.tokenizer.sentinels import find_sentinels
from mixproof.train.checkpoint.ancestors import ancestors_of
from mixproof.train.data.draw import find_draw, make_draw
from mixproof.train.proxies import architecture_of
from mixproof.train.record import TRAIN, ArchitectureRecord, FimRecord, MasksRecord
from mixproof.train.request import Draw, InitialCheckpoint, Recipe, Resources, RunRequest

from .initial_run import initial_run_key
from .post_training import WindowPlans, check_kinds, counted_of, has_pairs, is_scored

Budgets = dict[tuple[str, str], RunBudget]
"""By (mixture, proxy)."""
DrawSize = tuple[str, int, int | None]
"""A required draw: source, minimum tokens, and the tokens that the source is cut to (None: not cut)."""


def plan_budgets(spec: Spec, tokens_of: Mapping[str, int], counted_of: Mapping[str, int] | None = None) -> Budgets:
    """Budget every mixture at every proxy, and check caps, shapes and schedules.

    Args:
        spec: a checked spec.
        tokens_of: training tokens of every source, EODs included.
        counted_of: after pretraining, what shares count of every source; None: tokens.

    Raises:
        RequestError: when a run cannot be trained as specified.
    """
    for name, recipe in spec.train.proxies.items():
        architecture_of(name, recipe)
    pairs = [(mixture, proxy) for mixture in spec.mixtures for proxy in spec.train.proxies]
    budgets = {pair: budget_run(spec, *pair, tokens_of, counted_of) for pair in pairs}
    check_caps(spec, budgets, tokens_of)
    for (mixture, proxy), budget in budgets.items():
        check_schedule(budget, f"mixture {mixture} at proxy {proxy}")
        cuts_of(spec, budget, tokens_of)
    return budgets


def check_schedule(budget: RunBudget, name: str) -> None:
    """Check that a run is longer than its warm-up.

    Raises:
        RequestError: naming the run `name`, its steps and its warm-up steps.
    """
    if budget.warmup_steps >= budget.steps:
        raise RequestError(
            f"{name}: the warm-up of {budget.warmup_steps} steps (rounded up to whole steps) is not shorter than the "
            f"run of {budget.steps} steps; give the run more tokens, a smaller global_batch_size, or a warm-up of 0%"
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
    """List the runs of a spec on a build, and make the missing draws.

    Args:
        spec: a checked spec.
        manifest: of its build, which is in `store`.
        store: where draws and runs are.
        cluster: makes missing draws; None: make none.
        device: for runs whose proxy does not declare GPUs; not part of run keys.
        least_tokens: minimum tokens of each source's draw. Families that are planned one after another, such as the
            rounds of a search, use it to share draws and therefore token streams.

    Raises:
        RequestError: see `plan_budgets`; also when a draw is missing and `cluster` is None.
    """
    tokens_of = {name: source.train.tokens for name, source in manifest.sources.items()}
    check_kinds(spec, manifest)
    budgets = plan_budgets(spec, tokens_of, counted_of(spec, manifest))
    size_of = _draw_sizes(spec, budgets, tokens_of, least_tokens or {})
    initial = _initial(spec, manifest, store)
    made = _draws(manifest, store, cluster, sorted(set(size_of.values()), key=str))
    draws = {proxy_and_source: made[size] for proxy_and_source, size in size_of.items()}
    requests = [
        _request(spec, manifest, store, (mixture, proxy, seed), budget, draws, device, initial)
        for (mixture, proxy), budget in budgets.items()
        for seed in spec.train.seeds
    ]
    return requests if spec.train.stage == "pretrain" else _with_windows(spec, manifest, store, requests)


def _with_windows(spec: Spec, manifest: Manifest, store: Store, requests: Sequence[RunRequest]) -> list[RunRequest]:
    """Choose the windows of runs after pretraining."""
    plans, planned = WindowPlans(spec, manifest, store), []
    for request in requests:
        ancestors = ancestors_of(request.init_from)
        budget, plan = plans.plan(request.mixture, request.seed, request.budget, request.draws, ancestors)
        planned.append(request.model_copy(update={"budget": budget, "post_training": plan}))
    return planned


def _initial(spec: Spec, manifest: Manifest, store: Store) -> InitialCheckpoint | None:
    """The checkpoint that all runs start from, checked against the shape of every proxy."""
    declared = spec.train.init_from
    if declared is None:
        return None
    from mixproof.train.checkpoint.initial import check_initial, find_initial  # imports torch

    at = spec.where("train", "init_from")
    try:
        key = initial_run_key(store, declared.checkpoint)
        given = store.fetch(f"{TRAIN}/{key}") if key else Path(declared.checkpoint)
        initial = find_initial(given, manifest.tokenizer.sha256, optimizer=declared.optimizer)
    except RequestError as error:
        raise RequestError(f"{at}: {error}") from None
    for name, proxy in spec.train.proxies.items():
        try:
            check_initial(initial, architecture_of(name, proxy), manifest.tokenizer.vocab_size, spec.train.rope_base)
        except RequestError as error:
            raise RequestError(f"{at}: proxy {name}: {error}") from None
    return initial


def _draw_sizes(
    spec: Spec, budgets: Budgets, tokens_of: Mapping[str, int], least_tokens: Mapping[str, int]
) -> dict[tuple[str, str], DrawSize]:
    """By (proxy, source): what the largest run reads in one pass, or the cut of a simulated target."""
    if spec.train.stage != "pretrain":  # whole sources
        return {
            (proxy, source): (source, tokens_of[source], None)
            for (_, proxy), budget in budgets.items()
            for source in budget.samples_of
        }
    need = dict(least_tokens)
    for budget in budgets.values():
        for source, samples in budget.samples_of.items():
            need[source] = max(need.get(source, 0), samples * budget.sequence_length + 1)
    sizes: dict[tuple[str, str], DrawSize] = {}
    for (_, proxy), budget in budgets.items():
        cuts = cuts_of(spec, budget, tokens_of)
        for source in budget.samples_of:
            sizes[proxy, source] = (source, cuts[source], cuts[source]) if cuts else (source, need[source], None)
    return sizes


def _draws(
    manifest: Manifest, store: Store, cluster: Cluster | None, sizes: Sequence[DrawSize]
) -> dict[DrawSize, Draw]:
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
    resources = _resources(proxy, device)
    return RunRequest(
        store=str(store),
        build=manifest.build,
        spec_name=spec.name,
        mixture=mixture,
        proxy=proxy_name,
        seed=seed,
        architecture=ArchitectureRecord(**architecture_of(proxy_name, proxy).model_dump()),
        recipe=_recipe(train, proxy),
        masks=_masks(train, pairs=has_pairs(spec, manifest)),
        rope_base=train.rope_base,
        budget=budget,
        tokenizer=manifest.tokenizer,
        draws={source: draws[proxy_name, source] for source in budget.samples_of},
        heldout={name: source.heldout for name, source in manifest.sources.items() if is_scored(spec, manifest, name)},
        device="cuda" if resources.gpus else "cpu",
        micro_batch_size=proxy.micro_batch_size,
        resources=resources,
        evaluate_steps=_steps(train.evaluate_every, budget),
        recompute=proxy.recompute,
        checkpoint_keep=train.checkpoint_keep,
        init_from=initial,
        loss_weights=_loss_weights(train, budget),
        fim=_fim(spec, manifest, store, budget),
    )


def _loss_weights(train: Train, budget: RunBudget) -> dict[str, str] | None:
    weights = {source: exact_string(train.loss_weights.get(source, Fraction(1))) for source in budget.samples_of}
    return weights if set(weights.values()) != {"1"} else None


def _fim(spec: Spec, manifest: Manifest, store: Store, budget: RunBudget) -> dict[str, FimRecord] | None:
    """Fill-in-the-middle of the sources that a run reads, with the ids of its tokens; a part has that of its source."""
    found: dict[str, FimRecord] = {}
    for name in budget.samples_of:
        fim = spec.fim_of(name)
        if fim is None:
            continue
        reference = load_reference(str(store.path(manifest.tokenizer.path)))
        found[name] = FimRecord(
            rate=exact_string(fim.rate),
            spm_rate=exact_string(fim.spm_rate),
            unit=fim.unit,
            sentinels=find_sentinels(reference, spec, name),
        )
    return found or None


def _recipe(train: Train, proxy: Proxy) -> Recipe:
    optimizer = train.optimizer
    return Recipe(
        lr=exact_string(proxy.lr),
        min_lr=exact_string(proxy.min_lr),
        shape=train.schedule.wsd.shape,
        weight_decay=exact_string(optimizer.weight_decay),
        clip=exact_string(optimizer.clip),
        betas=(exact_string(optimizer.betas[0]), exact_string(optimizer.betas[1])),
    )


def _masks(train: Train, *, pairs: bool) -> MasksRecord:
    """Best-fit packing implies the document mask and restarted positions."""
    supervised = train.stage != "pretrain"
    packed = supervised or train.windows.pack == "best_fit"
    return MasksRecord(
        document_mask=packed or train.document_mask,
        eod_mask_loss=train.eod_mask_loss,
        reset_position_ids=packed or train.reset_position_ids,
        best_fit=True if packed else None,
        supervised=True if supervised else None,
        pairs=True if pairs else None,
    )


def _steps(tokens: int | None, budget: RunBudget) -> int | None:
    """`tokens` in steps, rounded up."""
    return None if tokens is None else -(-tokens // (budget.sequence_length * budget.global_batch_size))


def _resources(proxy: Proxy, device: Literal["cpu", "cuda"]) -> Resources:
    gpus = proxy.gpus if proxy.gpus is not None else int(device == "cuda")
    return Resources(ranks=proxy.ranks, cpus=float(proxy.cpus), gpus=float(gpus))
