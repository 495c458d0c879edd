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
from mixproof.ledger.manifest import Manifest
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
from mixproof.train.compare.task_scores import TaskScores
from mixproof.train.delivered_record import FimRecord
from mixproof.train.evaluate.external.external import benchmarks_of_objective
from mixproof.train.evaluate.external.task_results import read_task_scores
from mixproof.train.outcome import RunOutcome, find_outcomes
from mixproof.train.proxies import architecture_of, rates_of
from mixproof.train.record import TRAIN, ArchitectureRecord, MasksRecord
from mixproof.train.request import Draw, InitialCheckpoint, Recipe, Resources, RunRequest

from .chosen_rate import ChosenRate
from .draws import Budgets, draw_sizes, find_draws, tokens_of_runs
from .initial_run import initial_run_key
from .long_documents import uses_of_long_documents
from .post_training import WindowPlans, check_kinds, counted_of, has_pairs, is_scored
from .rates import choose_rate, sweep_families, swept, with_rates


def plan_budgets(spec: Spec, tokens_of: Mapping[str, int], counted_of: Mapping[str, int] | None = None) -> Budgets:
    """Budget every mixture at every proxy, and check caps, shapes and schedules.

    Args:
        spec: a checked spec.
        tokens_of: training tokens of every source, EODs included.
        counted_of: after pretraining, what shares count of every source; None: tokens.

    Raises:
        RequestError: when a run cannot be trained as specified.
    """
    check_shapes(spec)
    pairs = [(mixture, proxy) for mixture in spec.mixtures for proxy in spec.train.proxies]
    budgets = {pair: budget_run(spec, *pair, tokens_of, counted_of) for pair in pairs}
    check_caps(spec, budgets, tokens_of)
    for (mixture, proxy), budget in budgets.items():
        check_schedule(budget, f"mixture {mixture} at proxy {proxy}")
        cuts_of(spec, budget, tokens_of)
    return budgets


def check_shapes(spec: Spec) -> None:
    """Check that every proxy has a shape, and that those with muP differ in width and not in the size of their heads.

    Raises:
        RequestError: naming the proxy.
    """
    shapes = {name: architecture_of(name, proxy) for name, proxy in spec.train.proxies.items()}
    with_mup = [name for name, proxy in spec.train.proxies.items() if proxy.mup is not None]
    for name in with_mup:
        if shapes[name].head_dim != shapes[with_mup[0]].head_dim:
            where = spec.where("train", "proxies", name, "mup")
            raise RequestError(
                f"{where}: {name} has head_dim {shapes[name].head_dim} and {with_mup[0]} has "
                f"{shapes[with_mup[0]].head_dim}; with muP give both the same, and more heads to the wider one"
            )


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
        RequestError: see `plan_budgets`; also when a draw is missing and `cluster` is None, or a sweep of learning
            rates has not been trained.
    """
    tokens_of = {name: source.train.tokens for name, source in manifest.sources.items()}
    check_kinds(spec, manifest)
    budgets = plan_budgets(spec, tokens_of, counted_of(spec, manifest))
    uses_of_long_documents(spec, budgets, manifest, store)
    need = tokens_of_runs(budgets, least_tokens or {})
    spec = with_rates(spec, find_rates(spec, manifest, store, cluster, need))
    size_of = draw_sizes(spec, budgets, tokens_of, need)
    initial = _initial(spec, manifest, store)
    made = find_draws(manifest, store, cluster, sorted(set(size_of.values()), key=str))
    draws = {proxy_and_stream: made[size] for proxy_and_stream, size in size_of.items()}
    requests = [
        _request(spec, manifest, store, (mixture, proxy, seed), budget, draws, device, initial)
        for (mixture, proxy), budget in budgets.items()
        for seed in spec.train.seeds
    ]
    return requests if spec.train.stage == "pretrain" else _with_windows(spec, manifest, store, requests)


def chosen_rates(spec: Spec, manifest: Manifest, store: Store) -> list[ChosenRate]:
    """Choose the rates of a spec's sweeps from their finished runs, without training any.

    Raises:
        RequestError: when a run of a sweep has not been trained.
    """
    return find_rates(spec, manifest, store, None, tokens_needed(spec, manifest)) if swept(spec) else []


def tokens_needed(spec: Spec, manifest: Manifest, least_tokens: Mapping[str, int] | None = None) -> dict[str, int]:
    """Tokens of each source that the largest run of a spec reads in one pass, and at least `least_tokens`.

    Raises:
        RequestError: see `plan_budgets`.
    """
    tokens_of = {name: source.train.tokens for name, source in manifest.sources.items()}
    return tokens_of_runs(plan_budgets(spec, tokens_of, counted_of(spec, manifest)), least_tokens or {})


def find_rates(
    spec: Spec, manifest: Manifest, store: Store, cluster: Cluster | None, need: Mapping[str, int]
) -> list[ChosenRate]:
    """Choose the rates of a spec's sweeps from their finished runs.

    Args:
        spec: a checked spec.
        manifest: of its build.
        store: where its runs are.
        cluster: makes missing draws; None: make none.
        need: minimum tokens of each source's draw, as for the spec's own runs.

    Raises:
        RequestError: when a run of a sweep has not been trained.
    """
    chosen = []
    for proxy in swept(spec):
        outcomes = {
            rate: find_outcomes(plan_requests(family, manifest, store, cluster, least_tokens=need))
            for rate, family in sweep_families(spec, proxy).items()
        }
        chosen.append(choose_rate(spec, proxy, outcomes, _task_scores(spec, store, outcomes)))
    return chosen


def _task_scores(spec: Spec, store: Store, outcomes: Mapping[str, Sequence[RunOutcome]]) -> TaskScores:
    """The stored scores of a sweep's runs on the tasks of the objective."""
    if spec.objective is None or not spec.objective.tasks:
        return {}
    runs = [run for own in outcomes.values() for run in own]
    return read_task_scores(runs, benchmarks_of_objective(spec, spec.folder), store, spec.objective.tasks)


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
    rope_base = None if declared.change_rope_base else spec.train.rope_base
    for name, proxy in spec.train.proxies.items():
        try:
            check_initial(initial, architecture_of(name, proxy), manifest.tokenizer.vocab_size, rope_base)
        except RequestError as error:
            raise RequestError(f"{at}: proxy {name}: {error}") from None
    return initial


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
        recipe=_recipe(train, proxy_name, proxy),
        masks=_masks(train, pairs=has_pairs(spec, manifest)),
        rope_base=train.rope_base,
        budget=budget,
        tokenizer=manifest.tokenizer,
        draws={stream: draws[proxy_name, stream] for stream in budget.tokens_of_streams},
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


def _recipe(train: Train, name: str, proxy: Proxy) -> Recipe:
    optimizer, (lr, min_lr) = train.optimizer, rates_of(name, proxy)
    return Recipe(
        lr=exact_string(lr),
        min_lr=exact_string(min_lr),
        shape=train.schedule.wsd.shape,
        weight_decay=exact_string(optimizer.weight_decay),
        clip=exact_string(optimizer.clip),
        betas=(exact_string(optimizer.betas[0]), exact_string(optimizer.betas[1])),
        mup_base_hidden=None if proxy.mup is None else str(proxy.mup.base_hidden),
        mup_output=None if proxy.mup is None or proxy.mup.output == 1 else exact_string(proxy.mup.output),
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
