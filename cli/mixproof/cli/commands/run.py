"""`mixproof run`: plan, build, audit, train every mixture × proxy × seed, search if the spec says so, compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import typer

from mixproof.cli.before_work import open_for_work
from mixproof.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    SpecPath,
    StoreOption,
    VerboseOption,
    WandbOption,
    WorkersOption,
)
from mixproof.cli.output import emit_json, stdout
from mixproof.cli.page_file import HtmlOption, check_html
from mixproof.cli.progress.show import spec_progress
from mixproof.cli.report import write_report
from mixproof.cli.request import Request
from mixproof.cli.tables.external_tables import print_external
from mixproof.cli.tables.search_race import race_sentence
from mixproof.cli.tables.search_report import Searched, print_searched, search_evidence, searched_json
from mixproof.ledger.errors import MixproofError, RequestError
from mixproof.ledger.keys import short_key
from mixproof.ledger.manifest import Manifest
from mixproof.mixtures.arithmetic.rungs import check_race, check_rungs
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import look_before_work
from mixproof.tokenize.audit import AuditReport
from mixproof.train.compare.comparison import Comparison
from mixproof.train.compare.race import Race
from mixproof.train.evaluate.external.external import ExternalScores, find_external, score_external
from mixproof.train.loop.weights_and_biases import check_wandb
from mixproof.train.outcome import RunOutcome

from .audit import audit_request, print_report
from .build import build_json, print_account, run_build
from .compare import compare_requests, print_comparison, runs_of
from .race import DEFAULT_CONFIDENCE, DEFAULT_RUNGS, RaceOptions, race_options, run_race
from .search_spec import check_search, found_path, search_built
from .train import report_failed, run_train, train_json

RaceOption = Annotated[
    bool,
    typer.Option(
        "--race", help="Stop mixtures early that are not the best with 95% confidence; needs two seeds or more."
    ),
]
RungsOption = Annotated[
    str | None,
    typer.Option(
        "--rungs", metavar="N%,N%,...", help=f"With --race: after which shares of the tokens; default: {DEFAULT_RUNGS}."
    ),
]
ConfidenceOption = Annotated[
    str | None,
    typer.Option("--confidence", metavar="N%", help=f"With --race: over all rungs; default: {DEFAULT_CONFIDENCE}."),
]


@dataclass(frozen=True)
class Ran:
    """The results of one `run`."""

    request: Request
    """The request, with the parts of split sources."""
    manifest: Manifest
    build: dict[str, object]
    audit: AuditReport
    outcomes: list[RunOutcome]
    external: list[ExternalScores]
    runs: list[RunOutcome]
    """All runs of the spec, as they are in the store after scoring."""
    comparison: Comparison
    race: Race | None = None
    searched: Searched | None = None
    """None for a spec without a block `search`."""

    @property
    def compared(self) -> bool:
        """Whether the declared mixtures could be compared, if there is more than one."""
        return self.comparison.comparable or self.only_searched

    @property
    def only_searched(self) -> bool:
        """Whether the spec has one mixture, from which a search starts: there is nothing to compare."""
        return self.searched is not None and len(self.request.spec.mixtures) == 1

    def to_json(self) -> dict[str, object]:
        """The parts, each in the form of its own command."""
        return {
            "build": self.build,
            "audit": self.audit.to_json(),
            "train": train_json(self.outcomes, self.external),
            "compare": self.comparison.to_json(),
            **({} if self.race is None else {"race": self.race.to_json()}),
            **({} if self.searched is None else {"search": searched_json(self.searched)}),
        }


def run(
    spec: SpecPath,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    wandb: WandbOption = None,
    race: RaceOption = False,
    rungs: RungsOption = None,
    confidence: ConfidenceOption = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Do the whole job of SPEC: build, audit, train, search if it has `search`, compare; finished work is reused."""
    check_html(html)
    check_wandb(wandb)
    options = race_options(race, rungs, confidence)
    request = open_for_work(spec, store, "run")
    if options is not None and request.spec.search is not None:
        raise RequestError(
            f"{request.spec.where('search')}: --race is for declared mixtures; to race the candidates of the search, "
            "remove --race and set `search.race`; to race without a search, set `search: null`"
        )
    if options is not None:
        check_race(request.spec)
        most = {name: found.tokens_at_most for name, found in request.estimates.items()}
        check_rungs(request.spec, most, options.rungs)
    ran = run_request(request, address, workers, device, wandb, options)
    if html is not None:
        search = None if ran.searched is None else search_evidence(ran.searched)
        write_report(html, [ran.request], [ran.runs], ran.comparison, search)
    if as_json:
        emit_json(ran.to_json())
    else:
        print_ran(ran)
    not_found = ran.searched is not None and ran.searched.written is None
    if report_failed(ran.outcomes) or not ran.audit.ok or not ran.compared or not_found:
        raise typer.Exit(1)


def run_request(
    request: Request,
    address: str | None,
    workers: int | None,
    device: Literal["cpu", "cuda"] | None = None,
    wandb: str | None = None,
    race: RaceOptions | None = None,
) -> Ran:
    """Do the whole job with one Ray start.

    Raises:
        MixproofError: when the build's audit fails; nothing is trained on it.
    """
    sets_and_tasks = find_external(request.spec, request.loaded.base)
    declared, output = request.spec.search, found_path(request.loaded.path)
    if declared is not None:
        check_search(request, declared, output)
    with (
        spec_progress(request.spec, request.store, "run") as progress,
        Cluster(address, workers, progress) as cluster,
    ):
        look_before_work(request.store, cluster)
        built = run_build(request, cluster)
        request = replace(request, loaded=built.loaded)
        build = build_json(built, cluster, request.store)
        report = audit_request(request, "bytes", cluster)
        if not report.ok:
            print_report(report)
            raise MixproofError(
                "the audit failed, so nothing was trained; repair or delete the files listed above and run again"
            )
        if race is not None:
            raced = run_race(request, built.manifest, cluster, progress, race, device, wandb)
            external = score_external(raced.outcomes, sets_and_tasks, request.store, cluster)
            report, runs = audit_request(request, "bytes", cluster), raced.outcomes
            return Ran(request, built.manifest, build, report, runs, external, runs, raced.comparison, raced.race)
        outcomes = run_train(request, cluster, progress, device, wandb)
        external = score_external(outcomes, sets_and_tasks, request.store, cluster)
        searched = None
        if declared is not None:
            searched = search_built(request, built.manifest, declared, output, cluster, progress)
        report = audit_request(request, "bytes", cluster)
        runs = runs_of(request)
        comparison = compare_requests([request], [runs])
    if searched is not None and searched.race is not None:
        note = race_sentence(searched.outcome, searched.race)
        comparison = replace(comparison, notes=(*comparison.notes, note))
    return Ran(request, built.manifest, build, report, outcomes, external, runs, comparison, searched=searched)


def print_ran(ran: Ran) -> None:
    """Print the whole job: the account, the audit, the comparison."""
    print_account(ran.manifest)
    print_report(ran.audit)
    if not ran.only_searched:
        print_comparison(ran.comparison)
    print_external(ran.outcomes, ran.external)
    if ran.searched is not None:
        print_searched(ran.searched)
    stdout.print(f"build {short_key(ran.manifest.build)}")
