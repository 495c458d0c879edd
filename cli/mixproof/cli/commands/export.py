"""`mixproof export`: write a run, a mixture's blend or a build for another tool.

`--format huggingface` writes a run as a model that transformers loads and compares its logits with Megatron's.
`--format megatron` writes a checkpoint that Megatron-LM loads and reads its weights back. `--format megatron-args`
writes the data files and flags with which stock Megatron-LM trains a mixture of a spec. `--merge` joins a build's
parts into one dataset per source and side.

`--format olmo`, `mds` and `datasets` write the documents of a mixture for OLMo-core, MosaicML Streaming and Hugging
Face datasets, with counts by source.

`--format packed-parquet` and `trl` write one source of conversations for Megatron-Bridge and for trl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from mixproof.cli.export_folder import export_folder
from mixproof.cli.named import SPEC_SUFFIXES, RunChoice, named, named_run
from mixproof.cli.options import DEFAULT_STORE, JsonOption, RunSeedOption, StoreOption, VerboseOption
from mixproof.cli.output import emit_json, stderr
from mixproof.cli.request import Request, open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import locate
from mixproof.ledger.manifest import MANIFEST, Manifest, read_manifest
from mixproof.ledger.objects.urls import is_remote
from mixproof.tokenize.dataset.merge import merge_parts
from mixproof.train.export.chat_template import TEMPLATE, TemplateCheck
from mixproof.train.export.export_mixture import export_mixture
from mixproof.train.export.output_folder import output_folder
from mixproof.train.export.stock_megatron.file_names import ARGS
from mixproof.train.export.stock_megatron.megatron_args import export_megatron_args
from mixproof.train.export.to_datasets import DATASETS
from mixproof.train.export.to_mds import MDS
from mixproof.train.export.to_olmo import OLMO
from mixproof.train.export.to_packed_parquet import export_packed_parquet
from mixproof.train.export.to_trl import export_trl
from mixproof.train.launch.plan import chosen_rates, plan_budgets, plan_requests
from mixproof.train.launch.rates import with_rates
from mixproof.train.request import Draw

RUN_FORMATS = ("huggingface", "megatron")
TRAINERS = {form.name: form for form in (OLMO, MDS, DATASETS)}
"""Formats of a mixture's documents, by name."""
MIXTURE_FORMATS = ("megatron-args", *TRAINERS)
SOURCE_FORMATS = ("packed-parquet", "trl")
"""Exports of one source of conversations."""

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN|SPEC|MANIFEST",
        help="A run: the first digits of its key, path or URL, or a spec with --mixture, --proxy and --seed; a spec to "
        "export a mixture; a spec or a build's manifest for --merge.",
    ),
]
FormatOption = Annotated[
    Literal["huggingface", "megatron", "megatron-args", "olmo", "mds", "datasets", "packed-parquet", "trl"] | None,
    typer.Option(
        "--format",
        metavar="huggingface|megatron|megatron-args|olmo|mds|datasets|packed-parquet|trl",
        help="Tool to write for.",
    ),
]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="Join a build's parts into one dataset per source and side.")
]
OutputOption = Annotated[
    str,
    typer.Option("--output", metavar="DIR", help="New or empty folder to write to, or a URL (s3://bucket/folder)."),
]
MixtureOption = Annotated[
    str | None, typer.Option("--mixture", help="A mixture of the spec; needed when it has several.")
]
ProxyOption = Annotated[
    str | None, typer.Option("--proxy", help="A proxy of the spec, for a mixture; needed when it has several.")
]
SourceOption = Annotated[
    str | None, typer.Option("--source", help="For packed-parquet and trl: the source of conversations to write.")
]
DrawOption = Annotated[
    bool,
    typer.Option("--draw", help="For a mixture: export what the proxy's runs read, not all training documents."),
]


def export(
    target: TargetArgument,
    output: OutputOption,
    form: FormatOption = None,
    mixture: MixtureOption = None,
    proxy: ProxyOption = None,
    source: SourceOption = None,
    seed: RunSeedOption = None,
    draw: DrawOption = False,
    merge: MergeOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Write a run, a mixture's blend, or a merged build for another tool, and check what was written."""
    choice = RunChoice(mixture, proxy, seed)
    _check_options(form, output, choice, merge=merge, draw=draw, is_spec=target.endswith(SPEC_SUFFIXES))
    _check_source(form, source)
    target = named_run(target, store, choice) if form in RUN_FORMATS else named(target, store)
    with export_folder(output) as folder:
        if merge:
            written = _merge(target, store, folder)
        elif source is not None:
            written = _source(form or "", target, source, store, folder)
        elif form == "megatron-args":
            written = _megatron_args(target, mixture, proxy, store, folder, draw=draw)
        elif form in TRAINERS:
            location = output.rstrip("/") if is_remote(output) else str(folder.resolve())
            written = _trainer(form, target, mixture, proxy, store, folder, location, draw=draw)
        else:
            written = (_megatron if form == "megatron" else _huggingface)(target, folder)
    location = output if is_remote(output) else str(folder.resolve())
    for line in written.lines:
        stderr.print(f"{escape(output.rstrip('/'))}{line}", soft_wrap=True)
    if as_json:
        emit_json({"format": form or "merge", "output": location, **written.facts})


def _check_options(form: str | None, output: str, choice: RunChoice, *, merge: bool, draw: bool, is_spec: bool) -> None:
    if merge == (form is not None):
        formats = ", ".join((*RUN_FORMATS, *MIXTURE_FORMATS, *SOURCE_FORMATS))
        raise RequestError(f"export needs either --format {formats}, or --merge")
    if choice.seed is not None and form not in RUN_FORMATS:
        raise RequestError(f"--seed is for --format {', '.join(RUN_FORMATS)}, which export a run")
    if choice.given and form not in MIXTURE_FORMATS and (form not in RUN_FORMATS or not is_spec):
        formats = ", ".join(MIXTURE_FORMATS)
        exported = "--merge writes a whole build" if merge else f"--format {form} exports a run or a source"
        raise RequestError(f"--mixture and --proxy are for --format {formats}, or a run of a spec; {exported}")
    if draw and form not in MIXTURE_FORMATS:
        raise RequestError(f"--draw is for --format {', '.join(MIXTURE_FORMATS)}")
    if form == "megatron-args" and is_remote(output):
        raise RequestError(f"--output {output}: the written flags name local files, so give a local folder")


def _check_source(form: str | None, source: str | None) -> None:
    if (form in SOURCE_FORMATS) != (source is not None):
        formats = " and ".join(SOURCE_FORMATS)
        raise RequestError(f"--source NAME belongs to --format {formats}, which write one source of conversations")


@dataclass(frozen=True)
class _Written:
    """A finished export."""

    facts: dict[str, object]
    """For `--json`."""
    lines: tuple[str, ...]
    """Messages, each to be printed behind the output's path."""


def _huggingface(run: str, output: Path) -> _Written:
    from mixproof.train.export.to_huggingface import TOKENIZER_DIFFERS, export_huggingface  # brings torch

    done = export_huggingface(run, output)
    check = done.tokenizer
    differs = (
        f"/{TOKENIZER_DIFFERS}: [bold yellow]warning:[/] the fast tokenizer's ids differ from the run's own on "
        f"{check.different:,} of {check.texts:,} texts"
    )
    summary = (
        f": LlamaForCausalLM; logits within {done.largest_difference:.1e} of Megatron's at {done.logits_checked:,} "
        "positions of held-out text"
    )
    facts: dict[str, object] = {
        "logits_checked": done.logits_checked,
        "largest_difference": done.largest_difference,
        "tokenizer_exact": check.exact,
    }
    lines = [summary] if check.exact else [differs, summary]
    if done.template is not None:
        facts["chat_template"] = asdict(done.template)
        lines.append(_template_line(done.template))
    return _Written(facts, tuple(lines))


def _template_line(check: TemplateCheck) -> str:
    """What is known of an exported chat template."""
    name = f"/{TEMPLATE}:"
    if check.different:
        return (
            f"{name} [bold yellow]warning:[/] {check.different} of {check.conversations} conversations get other ids "
            "than in training"
        )
    ends = "" if check.generation_prompt else "; it writes no generation prompt, so prompts do not end as in training"
    return f"{name} apply_chat_template gives the ids of training on {check.conversations} conversations{ends}"


def _megatron(run: str, output: Path) -> _Written:
    from mixproof.train.export.to_megatron import export_megatron  # brings torch

    done = export_megatron(run, output)
    summary = f": iteration {done.iteration:,}; {done.weights:,} weights read back and equal"
    return _Written({"iteration": done.iteration, "weights": done.weights}, (summary,))


def _megatron_args(
    spec: str, mixture: str | None, proxy: str | None, store: str, output: Path, *, draw: bool
) -> _Written:
    request = open_request(Path(spec), store)
    manifest = request.manifest()
    mixture = _one_of("mixture", mixture, list(request.spec.mixtures))
    proxy = _one_of("proxy", proxy, list(request.spec.train.proxies))
    budgets = plan_budgets(request.spec, {name: source.train.tokens for name, source in manifest.sources.items()})
    budget = budgets[mixture, proxy]
    draws = _draws(request, manifest, mixture, proxy) if draw else None
    spec_with_rates = with_rates(request.spec, chosen_rates(request.spec, manifest, request.store))
    files = export_megatron_args(spec_with_rates, manifest, request.store, mixture, proxy, budget, output, draws)
    summary = f": {', '.join(files)}; the flags are in {ARGS}"
    return _Written({"mixture": mixture, "proxy": proxy, "files": files}, (summary,))


def _trainer(
    form: str,
    spec: str,
    mixture: str | None,
    proxy: str | None,
    store: str,
    output: Path,
    location: str,
    *,
    draw: bool,
) -> _Written:
    request = open_request(Path(spec), store)
    manifest = request.manifest()
    mixture = _one_of("mixture", mixture, list(request.spec.mixtures))
    proxy = _one_of("proxy", proxy, list(request.spec.train.proxies))
    budgets = plan_budgets(request.spec, {name: source.train.tokens for name, source in manifest.sources.items()})
    draws = _draws(request, manifest, mixture, proxy) if draw else None
    names = (mixture, proxy)
    budget = budgets[mixture, proxy]
    data = export_mixture(TRAINERS[form], manifest, request.store, names, budget, output, location, draws)
    lines = [f"/{source.name}: {source.documents:,} documents, {source.tokens:,} tokens" for source in data]
    plain = [name for name in budget.samples_of if request.spec.fim_of(name) is not None]
    lines += [f"/{name}: documents are as they were; fill-in-the-middle of the spec is not applied" for name in plain]
    sources = {source.name: {"documents": source.documents, "tokens": source.tokens} for source in data}
    return _Written({"mixture": mixture, "proxy": proxy, "sources": sources}, tuple(lines))


def _source(form: str, spec: str, name: str, store: str, output: Path) -> _Written:
    request = open_request(Path(spec), store)
    manifest = request.manifest()
    if form == "trl":
        counts = export_trl(manifest, request.store, name, request.spec, request.files().get(name, ()), output)
        lines = tuple(f"/{side}.jsonl: {records:,} records" for side, records in counts.items())
        return _Written({"source": name, "records": counts}, lines)
    done = export_packed_parquet(manifest, request.store, name, request.spec.train.sequence_length, output)
    summary = (
        f": {done.conversations:,} conversations in {done.packs:,} packs, {done.tokens:,} tokens, "
        f"{done.supervised_tokens:,} of them in the loss; read back and equal"
    )
    longer = f": {done.longer:,} conversations are longer than a pack and have one of their own"
    return _Written(asdict(done), (summary, *((longer,) if done.longer else ())))


def _draws(request: Request, manifest: Manifest, mixture: str, proxy: str) -> Mapping[str, Draw]:
    """What the runs of a mixture on a proxy read, by source; they must have been drawn."""
    runs = plan_requests(request.spec, manifest, request.store, None)
    run = next(run for run in runs if (run.mixture, run.proxy) == (mixture, proxy))
    for name in run.fim or ():
        raise RequestError(
            f"--draw: {request.spec.where('sources', name, 'transform', 'fim')}: the runs rearrange other documents of "
            f"{name} in each epoch, and an export has one order; export without --draw, which writes the documents as "
            "they are, or remove `fim`"
        )
    return run.draws


def _merge(target: str, store: str, output: Path) -> _Written:
    if target.endswith(SPEC_SUFFIXES):
        request = open_request(Path(target), store)
        source_store, manifest = request.store, request.manifest()
    else:
        found = locate(target)
        source_store, manifest = found.store, read_manifest(found.fetch() / MANIFEST)
    with output_folder(output) as scratch:
        merged = merge_parts(source_store, manifest, scratch)
    lines = [f"/{one.prefix}: {one.parts} parts, {one.documents:,} documents, {one.tokens:,} tokens" for one in merged]
    return _Written({"build": manifest.build, "datasets": [asdict(one) for one in merged]}, tuple(lines))


def _one_of(what: str, name: str | None, names: list[str]) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        problem = f"--{what} {name}: not in the spec" if name else f"--{what} is needed"
        raise RequestError(f"{problem}; choose from {', '.join(names)}")
    return name
