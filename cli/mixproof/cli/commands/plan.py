"""`mixproof plan`: files, tokens, steps, samples, epochs, rounding and cost of a spec, before any work.

Estimated before a build, exact after it. Writes nothing and starts nothing. Torch is loaded only if the store holds
runs that might be reused.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixproof.cli.before_work import open_for_work
from mixproof.cli.options import DEFAULT_STORE, JsonOption, SpecPath, StoreOption, VerboseOption
from mixproof.cli.output import emit_json
from mixproof.cli.plan_checks import (
    check_estimated_caps,
    check_searched_supply,
    growing_heldout,
)
from mixproof.cli.plan_cost import (
    CpuPriceOption,
    GpuPriceOption,
    MeasureOption,
    Prices,
    measured_rates,
)
from mixproof.cli.plan_report import plan_json, print_plan
from mixproof.cli.planned import Pair, Planned
from mixproof.cli.request import Request, budgets_of
from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import Manifest, read_manifest
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.caps import check_caps
from mixproof.pipeline.heldout.heldout_size import HeldoutSize
from mixproof.pipeline.read.progress import read_progress
from mixproof.train.launch.cost import document_rate, proxy_costs
from mixproof.train.launch.long_documents import PhaseUse, uses_of_long_documents
from mixproof.train.launch.plan import plan_requests
from mixproof.train.launch.post_training import counted_of
from mixproof.train.outcome import find_outcomes
from mixproof.train.record import TRAIN

USUAL_VOCABULARY = 32_000
"""Assumed for a tokenizer that has not been opened yet."""


def plan(
    spec: SpecPath,
    store: StoreOption = DEFAULT_STORE,
    measure: MeasureOption = False,
    price_cpu_hour: CpuPriceOption = None,
    price_gpu_hour: GpuPriceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Show what SPEC needs: exact after a build, estimated before. Writes nothing to the store and starts nothing."""
    planned = make_plan(open_for_work(spec, store, "plan"), measure=measure)
    prices = Prices(price_cpu_hour, price_gpu_hour)
    if as_json:
        emit_json(plan_json(planned, prices))
    else:
        print_plan(planned, prices)


def make_plan(request: Request, *, measure: bool = False) -> Planned:
    """Collect what is known about a spec, its build and its runs; `measure`: measure this machine first."""
    spec = request.spec
    path = request.find_manifest()
    manifest = None if path is None else read_manifest(path)
    if manifest is None:
        tokens_of = {name: found.tokens for name, found in request.estimates.items()}
    else:
        tokens_of = {name: manifest.sources[name].train.tokens for name in spec.sources}
    budgets = budgets_of(spec, tokens_of, None if manifest is None else counted_of(spec, manifest))
    long_documents: list[PhaseUse] = []
    if manifest is not None:
        check_caps(spec, budgets, tokens_of)
        long_documents = uses_of_long_documents(spec, budgets, manifest, request.store)
    else:
        check_estimated_caps(spec, request.estimates, _vocab_size(request, None))
    if (declared := spec.search) is not None:
        proxy = declared.proxy or next(iter(spec.train.proxies))
        check_searched_supply(request, declared, proxy, None if manifest is None else tokens_of)
    finished = _finished(request, manifest, budgets)
    to_train = {pair: len(spec.train.seeds) - finished[pair] for pair in budgets}
    vocab_size = _vocab_size(request, manifest)
    here = measured_rates(request, vocab_size, measure=measure)
    costs = proxy_costs(spec, budgets, to_train, vocab_size, request.store, here.training)
    rate = document_rate(request.store) or here.documents
    reading, growing = None, tuple[HeldoutSize, ...]()
    if manifest is None:
        files = request.files()
        reading = read_progress(spec, files, request.store)
        growing = growing_heldout(spec, files, request.estimates)
    return Planned(
        request,
        tokens_of,
        manifest,
        budgets,
        reading,
        finished,
        rate,
        tuple(costs),
        vocab_size,
        growing,
        tuple(long_documents),
    )


def _finished(request: Request, manifest: Manifest | None, budgets: Mapping[Pair, RunBudget]) -> dict[Pair, int]:
    """Number of finished, complete runs by mixture and proxy."""
    done = dict.fromkeys(budgets, 0)
    if manifest is None or not request.store.keys(TRAIN):
        return done
    try:
        outcomes = find_outcomes(plan_requests(request.spec, manifest, request.store, None))
    except RequestError:  # no draw yet, so nothing was trained
        return done
    for outcome in outcomes:
        done[outcome.mixture, outcome.proxy] += outcome.done
    return done


def _vocab_size(request: Request, manifest: Manifest | None) -> int:
    if manifest is not None:
        return manifest.tokenizer.vocab_size
    training = request.spec.tokenizer.train
    return USUAL_VOCABULARY if training is None else training.vocab_size
