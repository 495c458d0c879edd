"""Render the page as one string: views fill the template; plotly.js and the figures are embedded as scripts."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mixproof.mixtures.arithmetic.phase_streams import source_of_stream
from mixproof.tokenize.page.account import account_table, loss_table
from mixproof.tokenize.page.build_evidence import BuildEvidence
from mixproof.tokenize.page.document import asset, policy, template
from mixproof.tokenize.page.duplicates import dedup_sentence, dedup_table
from mixproof.tokenize.page.flow_view import FlowView, flow_view
from mixproof.tokenize.page.palette import OF_SOURCES, Look, looks
from mixproof.tokenize.page.table import Table

from .answers_table import answers_table
from .curves import curve_plot, heldout_plot
from .dedup_plot import dedup_plot
from .delivered_view import delivered_plot, delivered_sentence, delivered_table
from .evidence import Evidence
from .figure import Figure, Plot
from .phases_view import phases_table
from .ranking_tables import alone_table
from .ranking_view import RankingView, agreement_sentence, ranking_views
from .repetition_view import repetition_plot, repetition_sentence, repetition_table
from .reproduce import commands, environment_table, failed_table
from .run_times import times_table
from .scaling_view import scaling_views
from .sweep_view import sweep_views
from .verdict import across_sentence, glance, headline


@dataclass(frozen=True)
class ProxyView:
    """All sections of one ranking."""

    ranking: RankingView
    answers: Table | None
    delivered_sentence: str
    delivered_plot: Plot
    delivered_table: Table
    phases_table: Table | None
    heldout_plot: Plot
    curve_plot: Plot | None
    repetition_sentence: str
    repetition_plot: Plot | None
    repetition_table: Table


@dataclass(frozen=True)
class BuildView:
    """All sections of one build."""

    evidence: BuildEvidence
    flow: FlowView
    account: Table
    losses: Table
    dedup_sentence: str
    dedup_plot: Plot | None
    dedup_table: Table


def render_page(evidence: Evidence) -> str:
    """Render the page: one self-contained HTML document.

    The same evidence gives the same string.
    """
    mixtures = looks(row.mixture for ranking in evidence.rankings for row in ranking.rows)
    sources = _source_looks(evidence)
    rankings = ranking_views(evidence, mixtures)
    proxies = [_proxy_view(evidence, number, view, mixtures, sources) for number, view in enumerate(rankings)]
    builds = [_build_view(evidence, build, sources, number) for number, build in enumerate(evidence.builds)]
    no_laws, laws = scaling_views(evidence)
    shown = _figures(proxies, builds, [plot for law in laws for plot in law.plots])
    return template("page.html.j2", __package__ or "").render(
        **_sentences_and_tables(evidence),
        entries=_entries(bool(proxies)),
        proxies=proxies,
        builds=builds,
        laws=laws,
        no_laws=no_laws,
        css=asset("page.css"),
        script=asset("page.js"),
        plots=asset("plots.js", __package__ or ""),
        policy=_policy(),
        style_ids=_styles_of_plotly(),
        plotly=Markup(_plotly()),  # noqa: S704  base64
        figures=Markup(_figures_json(shown)),  # noqa: S704  JSON in which every < is escaped
    )


SECTIONS = {
    "verdict": "Verdict",
    "ranking": "Ranking",
    "delivered": "Declared, planned, delivered",
    "flow": "Flow of documents and tokens",
    "dedup": "Deduplication",
    "loss": "Loss",
    "repetition": "Repetition",
    "scaling": "Scaling",
    "failed": "Not counted",
    "environment": "Date, cost, environment",
    "reproduce": "Reproduce",
    "evidence": "Evidence",
}
OF_RANKINGS = ("ranking", "delivered", "loss", "repetition")
"""Sections that a page without a ranking does not have."""


def _entries(ranked: bool) -> list[tuple[str, str]]:
    """Id and title of every section, for the table of contents."""
    return [(id_, title) for id_, title in SECTIONS.items() if ranked or id_ not in OF_RANKINGS]


def _sentences_and_tables(evidence: Evidence) -> dict[str, object]:
    """Parts of the template that need no view."""
    return {
        "evidence": evidence,
        "comparison": evidence.comparison,
        "headline": headline(evidence.comparison, evidence.search),
        "across": across_sentence(evidence, evidence.across) if evidence.across else None,
        "facts": glance(evidence),
        "agreement": [agreement_sentence(pair) for group in evidence.comparison.groups for pair in group.agreement],
        "alone": alone_table(evidence),
        "sweeps": sweep_views(evidence),
        "commands": commands(evidence),
        "versions": environment_table(evidence),
        "times": times_table(evidence),
        "failed": failed_table(evidence),
    }


def _proxy_view(
    evidence: Evidence, number: int, view: RankingView, mixtures: dict[str, Look], sources: dict[str, Look]
) -> ProxyView:
    ranking = evidence.rankings[number]
    return ProxyView(
        ranking=view,
        answers=answers_table(ranking, number),
        delivered_sentence=delivered_sentence(ranking),
        delivered_plot=delivered_plot(ranking, sources, number),
        delivered_table=delivered_table(evidence, ranking, sources, number),
        phases_table=phases_table(evidence, ranking, sources, number),
        heldout_plot=heldout_plot(ranking, mixtures, number),
        curve_plot=curve_plot(evidence, ranking, mixtures, number),
        repetition_sentence=repetition_sentence(ranking),
        repetition_plot=repetition_plot(evidence, ranking, sources, number),
        repetition_table=repetition_table(evidence, ranking, sources, number),
    )


def _build_view(evidence: Evidence, build: BuildEvidence, sources: dict[str, Look], number: int) -> BuildView:
    runs = [run for run in evidence.runs if run.record.build == build.id]
    drawn: dict[str, int] = {}
    for run in runs:
        of_run: Counter[str] = Counter()
        for stream, draw in run.record.draws.items():
            of_run[source_of_stream(stream)] += draw.tokens - (draw.shared_tokens or 0)
        drawn |= {name: max(drawn.get(name, 0), tokens) for name, tokens in of_run.items()}
    return BuildView(
        evidence=build,
        flow=flow_view(build, sources, number, drawn),
        account=account_table(build, sources, number),
        losses=loss_table(build, sources, number),
        dedup_sentence=dedup_sentence(build),
        dedup_plot=dedup_plot(build, number),
        dedup_table=dedup_table(build, sources, number),
    )


def _source_looks(evidence: Evidence) -> dict[str, Look]:
    """Looks of the sources of all builds and runs, the one with the most training tokens first."""
    size: dict[str, int] = {}
    for build in evidence.builds:
        for name, source in build.manifest.sources.items():
            size[name] = max(size.get(name, 0), source.train.tokens)
    for run in evidence.runs:
        for name in run.record.delivered:
            size.setdefault(name, 0)
    return looks(sorted(size, key=lambda name: (-size[name], name)), OF_SOURCES)


def _figures(proxies: list[ProxyView], builds: list[BuildView], more: list[Plot]) -> list[Figure]:
    plots: list[Plot | None] = []
    for proxy in proxies:
        plots += [proxy.ranking.plot, proxy.delivered_plot, proxy.heldout_plot, proxy.curve_plot, proxy.repetition_plot]
    for build in builds:
        plots.append(build.dedup_plot)
    return [figure for plot in [*plots, *more] if plot is not None for figure in plot.figures]


def _figures_json(figures: list[Figure]) -> str:
    """Figures by id and view, escaped for a script element."""
    by_id: dict[str, dict[str, object]] = {}
    for figure in figures:
        by_id.setdefault(figure.id, {})[figure.view] = figure.to_json()
    text = json.dumps(by_id, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _policy() -> str:
    """The scripts and styles of the page, as its content security policy names them."""
    return policy([asset("page.js"), asset("plots.js", __package__ or ""), get_plotlyjs()], [asset("page.css")])


@cache
def _styles_of_plotly() -> list[str]:
    """Ids of the style elements that plotly.js would make, which the policy forbids; it uses those that there are."""
    return ["plotly.js-style-global", *sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', get_plotlyjs())))]


@cache
def _plotly() -> str:
    """plotly.js, compressed: 2 MB instead of 4.8 MB."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
