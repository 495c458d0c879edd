"""The page of a build: account, lengths, labels, samples of what was dropped, environment, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store

from .abridged import abridged
from .account import account_table, loss_table
from .build_evidence import SHORT, BuildEvidence
from .clusters import ClusterView, cluster_views
from .document import asset, policy, template
from .duplicates import dedup_sentence, dedup_table
from .environment import (
    UNKNOWN,
    build_work,
    duration,
    moment,
    stages_table,
    stated_versions,
    versions_table,
    work_table,
)
from .flow import undivided
from .flow_view import flow_view
from .labels import classifiers_table, languages_table, parts_table
from .lengths import histograms, lengths_table, read_lengths
from .palette import OF_SOURCES, Look, looks
from .samples import Dropped, dropped
from .table import Fact, Table, amount, short_percent

SECTIONS = {
    "summary": "Summary",
    "account": "Account",
    "duplicates": "Duplicates",
    "lengths": "Lengths",
    "labels": "Languages and labels",
    "clusters": "Clusters",
    "dropped": "Samples of what was dropped",
    "environment": "Date, cost, environment",
    "evidence": "Evidence",
}


def render_build(store: Store, build: BuildEvidence, name: str, version: str) -> str:
    """Render the page of a build; `name` is the spec's, `version` that of mixproof.

    Of many sources it shows the largest. It reads the lengths of documents and the lists of what was dropped from the
    store. The same build gives the same string.
    """
    summary = _summary(build, name, version)
    shown = abridged(build)
    build, manifest = shown.build, shown.build.manifest
    sources = source_looks(manifest)
    lengths = read_lengths(store, manifest)
    samples = dropped(store, build)
    labels = [parts_table(manifest, sources), classifiers_table(manifest), languages_table(manifest)]
    labels = [table for table in labels if table.rows]
    clusters = cluster_views(store, manifest)
    return template("build.html.j2").render(
        **summary,
        build=build,
        abridged=shown.sentence,
        **_tables(build, sources),
        entries=_entries(labels, clusters),
        clusters=clusters,
        flow_view=flow_view(build, sources, 0),
        histograms=histograms(lengths, sources),
        lengths=lengths_table(lengths, sources),
        labels=labels,
        dropped=_by_source(samples),
        dropped_sentence=_dropped_sentence(samples),
        css=asset("page.css"),
        script=asset("page.js"),
        policy=policy([asset("page.js")], [asset("page.css")]),
    )


def source_looks(manifest: Manifest) -> dict[str, Look]:
    """Looks of the sources, the one with the most training tokens first."""
    size = {name: source.train.tokens for name, source in manifest.sources.items()}
    return looks(sorted(size, key=lambda name: (-size[name], name)), OF_SOURCES)


def _summary(build: BuildEvidence, name: str, version: str) -> dict[str, object]:
    sources, totals = build.manifest.sources.values(), build.manifest.totals
    whole = undivided(build.manifest).values()
    train = sum(source.train.tokens for source in sources)
    divided = "" if len(whole) == len(sources) else f", divided into {len(sources)} parts"
    kept = sum(source.train.documents + source.heldout.documents for source in sources)
    ended, work = moment(build.circumstances, "ended"), build_work(build)
    return {
        "name": name,
        "version": version,
        "headline": f"{amount(train)} training tokens from {len(whole)} sources{divided}",
        "lead": f"Build {build.id[:SHORT]}: {kept:,} documents and {amount(totals.bytes)}B of text are kept.",
        "facts": [
            Fact(f"{sum(source.inputs.files for source in whole):,}", "files"),
            Fact(f"{sum(source.inputs.records for source in whole):,}", "records read"),
            Fact(f"{sum(source.train.documents for source in sources):,}", "training documents"),
            Fact(f"{sum(source.heldout.documents for source in sources):,}", "held-out documents"),
            Fact(amount(train), "training tokens"),
            Fact(_bytes_kept(build.manifest), "of the bytes read are kept"),
            Fact(UNKNOWN if work.wall_seconds is None else duration(work.wall_seconds), "wall time"),
            Fact(UNKNOWN if ended is None else f"{ended:%Y-%m-%d}", "finished"),
        ],
    }


def _bytes_kept(manifest: Manifest) -> str:
    sources = [source for source in undivided(manifest).values() if source.ledger]
    read = sum(source.ledger[0].bytes_out for source in sources)
    kept = sum(source.ledger[-1].bytes_out for source in sources)
    return short_percent(kept / read) if read else "–"


def _tables(build: BuildEvidence, sources: dict[str, Look]) -> dict[str, object]:
    return {
        "account": account_table(build, sources, 0),
        "losses": loss_table(build, sources, 0),
        "dedup": dedup_table(build, sources, 0),
        "dedup_sentence": dedup_sentence(build),
        "times": work_table([build_work(build)]),
        "stages": stages_table(build),
        "versions": versions_table([("mixproof", build.manifest.mixproof), *stated_versions(build.circumstances)]),
    }


def _entries(labels: Sequence[Table], clusters: Sequence[ClusterView]) -> list[tuple[str, str]]:
    is_shown = {"labels": bool(labels), "clusters": bool(clusters)}
    return [(id_, title) for id_, title in SECTIONS.items() if is_shown.get(id_, True)]


def _by_source(samples: Sequence[Dropped]) -> Mapping[str, list[Dropped]]:
    found: dict[str, list[Dropped]] = {}
    for one in samples:
        found.setdefault(one.loss.source, []).append(one)
    return found


def _dropped_sentence(samples: Sequence[Dropped]) -> str:
    if not samples:
        return "No document was dropped."
    if all(one.samples and all(sample.text for sample in one.samples) for one in samples):
        return "The first documents that were dropped for each reason."
    return (
        "The first documents that were dropped for each reason, where they are recorded. The texts that steps drop are "
        "recorded for sources with keep_dropped: true."
    )
