"""A plan on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mixproof.cli.abridged import first_sentences, largest, others_name
from mixproof.cli.fim_rates import declared_fim, declared_fim_json
from mixproof.cli.output import Cell, amount, count, hours, percent, print_labelled, stdout, table
from mixproof.cli.phases_table import planned_phases, planned_phases_json, print_held_out_length
from mixproof.cli.plan_checks import (
    cap_warning,
    heldout_warning,
)
from mixproof.cli.plan_cost import (
    FREE,
    Prices,
    disk_line,
    search_cost,
    wholes,
)
from mixproof.cli.planned import Pair, Planned
from mixproof.cli.tables.cross_source_losses import lost_by_mixture, lost_json, lost_table
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.caps import Use, cuts_of, uses_of
from mixproof.mixtures.arithmetic.repetition import effective_tokens
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import UNREAD, SplitSource, parts_of, whole_of
from mixproof.pipeline.heldout.heldout_size import heldout_sizes
from mixproof.train.launch.cost import ASSUMED
from mixproof.train.launch.rates import sweep_sentences

SHARES_COUNT = {"supervised": "supervised tokens", "tokens": "tokens", "examples": "conversations"}


def plan_json(planned: Planned, prices: Prices = FREE) -> dict[str, object]:
    """The JSON form of a plan; a source's `tokens` are estimates if `built` is false.

    `cut_tokens` is present if the spec simulates its target: the unique tokens to which the run's source is cut.
    """
    request = planned.request
    sources = {
        name: {"files": found.files, "bytes": found.bytes, "tokens": planned.tokens_of[name]}
        for name, found in request.estimates.items()
    }
    return {
        "built": planned.manifest is not None,
        "sources": sources,
        "shards": None if planned.reading is None else asdict(planned.reading),
        "runs": [_run_json(planned, pair) for pair in planned.budgets],
        "may_exceed_caps": [
            {
                **{"mixture": use.mixture, "run": use.run, "source": use.source},
                **{"epochs": float(use.epochs), "max_epochs": float(use.max_epochs)},
            }
            for use in planned.uses_above_caps
        ],
        "heldout_may_grow": [
            {
                **{"source": size.source, "requested_tokens": size.requested_tokens, "tokens": size.tokens},
                **{"documents": size.documents, "share": float(size.share)},
            }
            for size in planned.growing_heldout
        ],
        "runs_finished": sum(planned.finished.values()),
        "runs_to_train": planned.to_train,
        "lost": lost_json(lost_by_mixture(planned.manifest, planned.budgets)),
        "cost": {
            "documents": None if planned.documents is None else asdict(planned.documents),
            "training": [asdict(cost) for cost in planned.costs],
            "bytes_to_store": planned.bytes_to_store,
            **prices.to_json(planned.core_hours, planned.costs),
        },
        **({} if (search := search_cost(request.spec, planned.budgets)) is None else {"search": search.to_json()}),
    }


def _run_json(planned: Planned, pair: Pair) -> dict[str, object]:
    spec, budget = planned.request.spec, planned.budgets[pair]
    uses = {use.source: use for use in uses_of(spec, *pair, budget, planned.tokens_of)}
    cuts = cuts_of(spec, budget, planned.tokens_of)
    return {
        "mixture": pair[0],
        "proxy": pair[1],
        "seeds": list(spec.train.seeds),
        "finished": planned.finished[pair],
        "steps": budget.steps,
        "samples": budget.windows_before(budget.samples),
        "tokens_declared": budget.tokens_declared,
        "tokens_planned": budget.tokens_planned,
        "sources": {
            name: {
                "declared": float(budget.declared[name]),
                "samples": samples,
                "planned": budget.tokens_of[name],
                "epochs": float(uses[name].epochs),
                **({"cut_tokens": cuts[name]} if cuts else {}),
            }
            for name, samples in budget.samples_of.items()
        },
        **declared_fim_json(spec, budget),
        **planned_phases_json(budget, pair, planned.long_documents, spec.train.rope_base),
    }


def print_plan(planned: Planned, prices: Prices = FREE) -> None:
    """Print a plan."""
    spec = planned.request.spec
    stdout.print(_sources_table(planned))
    stdout.print(_runs_table(planned))
    if phases := planned_phases(planned.budgets, planned.long_documents, spec.train.rope_base):
        stdout.print(*phases)
        print_held_out_length(spec.train.sequence_length)
    for line in declared_fim(spec, planned.budgets.values()):
        stdout.print(line)
    if spec.target is not None:
        stdout.print(
            f"epochs and effective tokens (an estimate) refer to the target's {count(spec.target.tokens)} tokens"
        )
    if spec.train.stage != "pretrain":
        stdout.print(
            f"samples and epochs are estimates at stage {spec.train.stage}: shares count "
            f"{SHARES_COUNT[spec.train.shares_by]}, and the windows of each seed are chosen before it is trained"
        )
    for name, budget in {proxy: budget for (_, proxy), budget in planned.budgets.items()}.items():
        stdout.print(_rounding(name, budget))
    for sentence in sweep_sentences(spec):
        stdout.print(sentence, soft_wrap=True)
    for warnings in (map(cap_warning, planned.uses_above_caps), map(heldout_warning, planned.growing_heldout)):
        for sentence in first_sentences(warnings):
            stdout.print(f"[yellow]warning:[/] {escape(sentence)}")
    sizes = heldout_sizes(spec, planned.manifest) if planned.manifest is not None else []
    for sentence in first_sentences(str(size) for size in sizes if size.has_grown):
        print_labelled("held out", sentence)
    lost = lost_by_mixture(planned.manifest, planned.budgets)
    if any(lost.values()):
        stdout.print(lost_table(lost))
    stdout.print()
    _print_work(planned, prices)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{count(number)} runs"


def _sources_table(planned: Planned) -> Table:
    """A line per source of the spec as written; the parts of a divided source are below it, with their tokens.

    Of many sources, and of many parts, those with the most tokens are shown, and the sums of the others.
    """
    spec, tokens_of, found = planned.request.spec, planned.tokens_of, planned.request.estimates
    rows: list[tuple[str, ...]] = []
    wholes_of_spec = dict.fromkeys(whole_of(spec, name) for name in spec.sources)
    parts_by = {whole: parts_of(spec, whole) or [whole] for whole in wholes_of_spec}
    tokens_by = {whole: sum(tokens_of[part] for part in parts) for whole, parts in parts_by.items()}
    names, others = largest(tokens_by)
    for whole in names:
        parts, files = parts_by[whole], found[parts_by[whole][0]]
        rows.append((whole, count(files.files), count(files.bytes), count(tokens_by[whole])))
        if parts != [whole] and _shown_part(spec, parts[0]) == parts[0]:
            shown, small = largest({part: tokens_of[part] for part in parts})
            rows += [(f"  {_shown_part(spec, part)}", "", "", count(tokens_of[part])) for part in shown]
            if small:
                rows.append((f"  {others_name(small)}", "", "", count(sum(tokens_of[part] for part in small))))
    if others:
        rest = [found[parts_by[whole][0]] for whole in others]
        sums = (sum(one.files for one in rest), sum(one.bytes for one in rest), sum(tokens_by[name] for name in others))
        rows.append((others_name(others), *map(count, sums)))
    read = wholes(planned.request)
    numbers = (sum(one.files for one in read), sum(one.bytes for one in read), sum(tokens_of.values()))
    rows.append((f"total ({len(read)})", *map(count, numbers)))
    about = "training tokens" if planned.manifest is not None else "tokens (estimated)"
    return table("Sources", ("source", "files", "file bytes", about), rows)


def _shown_part(spec: Spec, name: str) -> str:
    """The name of a source in a mixture; of a divided source whose parts no build has found yet, the whole."""
    source = spec.sources[name]
    is_unread = isinstance(source, SplitSource) and source.value == UNREAD
    return f"{whole_of(spec, name)}, all parts" if is_unread else name


def _runs_table(planned: Planned) -> Table:
    """A line per mixture and proxy, with a line per source below it."""
    spec = planned.request.spec
    simulates = spec.target is not None and spec.target.simulate
    last = ("epochs", "effective", "cut to") if simulates else ("epochs", "effective")
    columns = ("mixture × proxy", "declared", "samples", "planned tokens", "share", *last)
    rows: list[tuple[Cell, ...]] = []
    for (mixture, proxy), budget in planned.budgets.items():
        uses = {use.source: use for use in uses_of(spec, mixture, proxy, budget, planned.tokens_of)}
        cuts = {name: (count(cut),) for name, cut in cuts_of(spec, budget, planned.tokens_of).items()}
        whole = ("", count(budget.windows_before(budget.samples)), count(budget.tokens_planned), "", *[""] * len(last))
        rows.append((Text.assemble((mixture, "bold"), f" × {proxy}"), *whole))
        shown, others = largest(budget.samples_of)
        for name in shown:
            numbers = _planned_numbers(budget, [name])
            rows.append((f"  {_shown_part(spec, name)}", *numbers, *_repeated(uses[name]), *cuts.get(name, ())))
        if others:
            rows.append((f"  {others_name(others)}", *_planned_numbers(budget, others)))
    return table("Runs", columns, rows)


def _planned_numbers(budget: RunBudget, names: Sequence[str]) -> tuple[str, str, str, str]:
    """Declared share, samples, planned tokens and their share, of one source or of several together."""
    planned_tokens = sum(budget.tokens_of[name] for name in names)
    return (
        percent(float(sum(budget.declared[name] for name in names))),
        count(sum(budget.samples_of[name] for name in names)),
        count(planned_tokens),
        percent(planned_tokens / budget.tokens_planned),
    )


def _repeated(use: Use) -> tuple[str, str]:
    """The epochs, and the estimated number of unique tokens that they are worth."""
    return f"{float(use.epochs):.3f}", count(effective_tokens(use.unique_tokens, float(use.epochs)))


def _rounding(proxy: str, budget: RunBudget) -> str:
    """How a proxy's declared tokens are rounded up to whole steps."""
    more = budget.tokens_planned / budget.tokens_declared - 1
    return (
        f"{proxy}: {count(budget.tokens_declared)} tokens declared; {count(budget.steps)} steps of "
        f"{count(budget.global_batch_size)} × {count(budget.sequence_length)} = {count(budget.tokens_planned)} planned "
        f"(+{more:.2%}), with {count(budget.warmup_steps)} for warm-up and {count(budget.decay_steps)} for decay"
    )


def _print_work(planned: Planned, prices: Prices) -> None:
    """Print what would run, what is reused, and what it costs."""
    rows = [_documents_row(planned)]
    for cost in planned.costs:
        finished = sum(runs for (_, proxy), runs in planned.finished.items() if proxy == cost.proxy)
        unit = "GPU-hours" if cost.rate.device == "cuda" else "CPU-hours"
        speed = f"{amount(cost.rate.amount)} tokens/s, {cost.rate.source}"
        takes = f"{hours(cost.hours)} {unit}" if cost.runs else ""
        work = f"{_runs(cost.runs)}, {amount(cost.flops)}FLOP" if cost.runs else ""
        rows.append((f"train {cost.proxy}", work, _runs(finished) if finished else "", takes, speed))
    stdout.print(table("Work", ("", "to do", "reused", "time", "rate"), rows, text_columns=5))
    if (search := search_cost(planned.request.spec, planned.budgets)) is not None:
        stdout.print(search.line())
    stdout.print(disk_line(planned.bytes_to_store))
    if prices.given:
        stdout.print(prices.line(planned.core_hours, planned.costs))
    if any(cost.runs and cost.rate.source == ASSUMED for cost in planned.costs) or planned.documents is None:
        stdout.print("`--measure` measures this machine for a few seconds instead of assuming a rate")


def _documents_row(planned: Planned) -> tuple[str, ...]:
    if planned.manifest is not None:
        return ("build", "", f"build {planned.manifest.build[:12]}", "", "")
    rate = planned.documents
    assert planned.reading is not None, "there is a build"
    shards, read = planned.reading.shards, planned.reading.shards_read
    size = sum(found.bytes for found in wholes(planned.request))
    work = f"{amount(size)}B of files in {count(shards)} shards"
    reused = f"{count(read)} shards read" if read else ""
    if rate is None:
        return ("build", work, reused, "unknown", "no build in this store to estimate from")
    takes = f"{hours(planned.core_hours or 0)} core-hours"
    return ("build", work, reused, takes, f"{amount(rate.amount)}B/s a core, {rate.source}")
