"""`mixproof plan`: what a spec asks for, before any work: files, tokens, steps, samples, epochs, rounding."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from mixproof.ledger.manifest import read_manifest
from mixproof.mixtures.budget import RunBudget
from mixproof.mixtures.caps import Use, check_caps, cuts_of, uses_of
from mixproof.mixtures.repetition import effective_tokens

from .options import DEFAULT_STORE, JsonOption, SpecPath, StoreOption
from .output import count, emit_json, percent, stdout, table
from .request import Request, budgets_of, open_request


def plan(spec: SpecPath, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show what SPEC asks for; exact after a build, estimated before. Writes nothing and starts nothing."""
    request = open_request(spec, store)
    manifest_path = request.find_manifest()
    if manifest_path is None:
        tokens_of = {name: found.tokens for name, found in request.estimates.items()}
    else:
        sources = read_manifest(manifest_path).sources
        tokens_of = {name: sources[name].train.tokens for name in request.spec.sources}
    budgets = budgets_of(request.spec, tokens_of)
    if manifest_path is not None:
        check_caps(request.spec, budgets, tokens_of)
    if as_json:
        emit_json(plan_json(request, budgets, tokens_of, built=manifest_path is not None))
        return
    print_plan(request, budgets, tokens_of, built=manifest_path is not None)


def plan_json(
    request: Request, budgets: Mapping[tuple[str, str], RunBudget], tokens_of: Mapping[str, int], *, built: bool
) -> dict[str, object]:
    """Give the JSON form of a plan; `tokens` of a source are estimates where `built` is false.

    `cut_tokens` are there where the spec simulates its target: unique tokens to which the run's source is cut.
    """
    sources = {
        name: {"files": found.files, "bytes": found.bytes, "tokens": tokens_of[name]}
        for name, found in request.estimates.items()
    }
    runs = []
    for (mixture, proxy), budget in budgets.items():
        uses = {use.source: use for use in uses_of(request.spec, mixture, proxy, budget, tokens_of)}
        cuts = cuts_of(request.spec, budget, tokens_of)
        runs.append(
            {
                "mixture": mixture,
                "proxy": proxy,
                "seeds": list(request.spec.train.seeds),
                "steps": budget.steps,
                "samples": budget.samples,
                "tokens_declared": budget.tokens_declared,
                "tokens_planned": budget.tokens_planned,
                "sources": {
                    name: {
                        "declared": float(budget.declared[name]),
                        "samples": samples,
                        "planned": samples * budget.sequence_length,
                        "epochs": float(uses[name].epochs),
                        **({"cut_tokens": cuts[name]} if cuts else {}),
                    }
                    for name, samples in budget.samples_of.items()
                },
            }
        )
    return {"built": built, "sources": sources, "runs": runs}


def print_plan(
    request: Request, budgets: Mapping[tuple[str, str], RunBudget], tokens_of: Mapping[str, int], *, built: bool
) -> None:
    """Write a plan for a person."""
    about = "training tokens" if built else "training tokens (estimated)"
    rows = [
        (name, count(found.files), count(found.bytes), count(tokens_of[name]))
        for name, found in request.estimates.items()
    ]
    stdout.print(table("Sources", ("source", "files", "file bytes", about), rows))
    stdout.print(_runs_table(request, budgets, tokens_of))
    runs = len(budgets) * len(request.spec.train.seeds)
    steps = sum(budget.steps for budget in budgets.values()) * len(request.spec.train.seeds)
    stdout.print(f"{runs} runs, {count(steps)} steps in all; the build is {'there' if built else 'still to be made'}")


def _runs_table(request: Request, budgets: Mapping[tuple[str, str], RunBudget], tokens_of: Mapping[str, int]) -> Table:
    simulates = request.spec.target is not None and request.spec.target.simulate
    last = ("epochs", "worth", "cut to") if simulates else ("epochs", "worth")
    columns = ("mixture", "proxy", "source", "declared", "samples", "planned tokens", "share", *last)
    rows: list[tuple[str, ...]] = []
    for (mixture, proxy), budget in budgets.items():
        uses = {use.source: use for use in uses_of(request.spec, mixture, proxy, budget, tokens_of)}
        cuts = {name: (count(cut),) for name, cut in cuts_of(request.spec, budget, tokens_of).items()}
        names = (mixture, proxy)
        for name, samples in budget.samples_of.items():
            planned = samples * budget.sequence_length
            share = percent(samples / budget.samples)
            declared = percent(float(budget.declared[name]))
            numbers = (declared, count(samples), count(planned), share, *_repeated(uses[name]), *cuts.get(name, ()))
            rows.append((*names, name, *numbers))
            names = ("", "")
        rounding = f"{count(budget.tokens_declared)} declared, {count(budget.steps)} whole steps"
        rows.append(
            ("", "", rounding, "", count(budget.samples), count(budget.tokens_planned), *[""] * len(columns[6:]))
        )
    return table("Runs", columns, rows, text_columns=3)


def _repeated(use: Use) -> tuple[str, str]:
    """Give the epochs, and the estimate of how many unique tokens they are worth."""
    return f"{float(use.epochs):.3f}", count(effective_tokens(use.unique_tokens, float(use.epochs)))
