"""`mixproof build`: read, filter, deduplicate, split and tokenize every source into audited datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mixproof.cli.abridged import first_sentences
from mixproof.cli.before_work import open_for_work
from mixproof.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    JsonOption,
    QuietOption,
    SpecPath,
    StoreOption,
    VerboseOption,
    WorkersOption,
)
from mixproof.cli.output import count, emit_json, print_labelled, stderr, stdout
from mixproof.cli.page_file import HtmlOption, check_html, read_build
from mixproof.cli.progress.show import spec_progress
from mixproof.cli.request import Request
from mixproof.cli.tables.account_table import account_table, large_losses
from mixproof.cli.tables.classifiers import classifiers_json, print_classifiers
from mixproof.ledger.keys import short_key
from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES, Manifest
from mixproof.ledger.store import Store, publish_bytes
from mixproof.ledger.version import VERSION
from mixproof.mixtures.values.quantities import parse_bytes
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.visible import look_before_work
from mixproof.pipeline.read.shards import SHARD_BYTES
from mixproof.tokenize.build import BuildResult
from mixproof.tokenize.build import build as build_spec


def parse_size(value: object) -> int:
    """Parse a size as in a spec: 64MB, or a number of bytes."""
    try:
        return parse_bytes(int(value) if isinstance(value, str) and value.isdigit() else value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


ShardBytesOption = Annotated[
    int,
    typer.Option(
        "--shard-bytes",
        parser=parse_size,
        metavar="SIZE",
        help="Input bytes per shard, such as 64MB; splits the work, never changes the result.",
    ),
]


def build(
    spec: SpecPath,
    store: StoreOption = DEFAULT_STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    shard_bytes: ShardBytesOption = SHARD_BYTES,
    html: HtmlOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Build the datasets of SPEC and write their manifest; finished stages are reused."""
    check_html(html)
    request = open_for_work(spec, store, "build")
    with (
        spec_progress(request.spec, request.store, "build") as progress,
        Cluster(address, workers, progress) as cluster,
    ):
        look_before_work(request.store, cluster)
        result = run_build(request, cluster, shard_bytes=shard_bytes)
        value = build_json(result, cluster, request.store)
    if html is not None:
        _write_page(html, request, result)
    if as_json:
        emit_json(value)
        return
    print_account(result.manifest)
    for sentence in first_sentences(str(size) for size in result.heldout_sizes if size.has_grown):
        print_labelled("held out", sentence)
    for sentence in fewer_clusters(result):
        print_labelled("clusters", sentence)
    for summary in result.evaluation:
        print_labelled("protected", evaluation_line(summary))
    print_classifiers(result.manifest.classifiers)
    if result.frequent is not None:
        stdout.print(f"ignored   {frequent_line(result.frequent)}", soft_wrap=True)
    stdout.print(f"build     {short_key(result.manifest.build)}")
    manifest = request.store.location(request.store.relative(result.manifest_path))
    stdout.print(f"manifest  {escape(manifest)}", soft_wrap=True)
    circumstances = request.store.location(f"{BUILDS}/{result.manifest.build}/{CIRCUMSTANCES}")
    stdout.print(f"removed   lists of removed documents: see `lists` in {escape(circumstances)}", soft_wrap=True)
    stdout.print(f"stages    {cluster.stages_run} run, {cluster.stages_reused} reused")


def _write_page(path: Path, request: Request, result: BuildResult) -> None:
    """Write the page of a build, and print its path."""
    from mixproof.tokenize.page.build_page import render_build  # most builds write no page

    page = render_build(request.store, read_build(result.manifest_path, result.manifest), request.spec.name, VERSION)
    publish_bytes(page.encode(), path)
    stderr.print(f"page: {escape(str(path))}", soft_wrap=True)


def print_account(manifest: Manifest) -> None:
    """Print where the documents of each source went, and warn about sources that lost most of theirs."""
    stdout.print(account_table(manifest))
    for sentence in first_sentences(large_losses(manifest)):
        stdout.print(f"[bold yellow]warning:[/] {escape(sentence)}", soft_wrap=True)


def fewer_clusters(result: BuildResult) -> Iterator[str]:
    """A sentence for each source that has fewer clusters than were requested."""
    for name, record in result.manifest.cells.items():
        for axis in result.loaded.as_written.sources[name].axes:
            requested = axis.clusters.number if axis.clusters is not None else None
            found = next(len(each.cells) for each in record.axes if each.column == axis.column)
            if requested is not None and found < requested:
                yield (
                    f"{name}: {count(found)} of {count(requested)} clusters, because its {count(record.documents)} "
                    "documents do not suffice for a held-out set in each, or too few of them differ"
                )


def run_build(request: Request, cluster: Cluster, *, shard_bytes: int = SHARD_BYTES) -> BuildResult:
    """Build the spec of a request."""
    return build_spec(request.loaded, request.store, cluster, shard_bytes=shard_bytes, files=request.found)


def build_json(result: BuildResult, cluster: Cluster, store: Store) -> dict[str, object]:
    """The JSON form of a build."""
    manifest = result.manifest
    sides = {
        name: {
            side: {
                "documents": split.documents,
                "tokens": split.tokens,
                **({} if split.supervised_tokens is None else {"supervised_tokens": split.supervised_tokens}),
                "bytes": split.bytes,
            }
            for side, split in (("train", source.train), ("heldout", source.heldout))
        }
        for name, source in manifest.sources.items()
    }
    return {
        "manifest": store.location(store.relative(result.manifest_path)),
        "build": manifest.build,
        "sources": sides,
        "totals": manifest.totals.model_dump(),
        **({"classifiers": classifiers_json(manifest.classifiers)} if manifest.classifiers else {}),
        "stages_run": cluster.stages_run,
        "stages_reused": cluster.stages_reused,
    }


def frequent_line(frequent: Mapping[str, int]) -> str:
    """Say which n-grams decontamination ignored."""
    unprotected = frequent["unprotected_texts"]
    return (
        f"{count(frequent['ignored_ngrams'])} n-grams that occur in more than {count(frequent['ignore_frequent'])} "
        f"training documents; {count(unprotected)} protected texts have no others, so they are not protected"
    )


def evaluation_line(summary: Mapping[str, Any]) -> str:
    """Say which fields of an evaluation file were read, and which were not."""
    read = ", ".join(f"{field} ({count(number)})" for field, number in summary["texts"].items())
    unread = f"; not read: {', '.join(summary['not_read'])}" if summary["not_read"] else ""
    return f"{summary['file']}: {count(summary['records'])} records, texts of {read}{unread}"
