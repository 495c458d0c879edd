"""`mixproof export`: a run, or a mixture's blend, in the form of another tool.

`--format huggingface` writes a run as a model that transformers loads, logits checked; `--format megatron` as a
checkpoint that Megatron-LM loads, weights checked; `--format megatron-args` writes the data files and flags with which
stock Megatron-LM trains a mixture of a spec. `--merge` writes a build's parts as one dataset a source and side.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixproof.cli.export_folder import export_folder
from mixproof.cli.options import DEFAULT_STORE, JsonOption, StoreOption, VerboseOption
from mixproof.cli.output import emit_json, stderr
from mixproof.cli.request import open_request
from mixproof.ledger.errors import RequestError
from mixproof.ledger.location import locate
from mixproof.ledger.manifest import MANIFEST, read_manifest
from mixproof.ledger.objects import is_remote
from mixproof.tokenize.dataset.merge import merge_parts
from mixproof.train.export.megatron_args import ARGS, export_megatron_args
from mixproof.train.export.output_folder import output_folder
from mixproof.train.export.to_huggingface import TOKENIZER_DIFFERS, export_huggingface
from mixproof.train.export.to_megatron import export_megatron
from mixproof.train.launch.plan import plan_budgets

from .audit import SPEC_SUFFIXES

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN|SPEC|MANIFEST",
        help="Path or URL of a run; for megatron-args, a spec; for --merge, a spec or a build's manifest.",
    ),
]
FormatOption = Annotated[
    Literal["huggingface", "megatron", "megatron-args"] | None,
    typer.Option("--format", metavar="huggingface|megatron|megatron-args", help="Which tool it is for."),
]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="Write a build's parts as one dataset for each source and side.")
]
OutputOption = Annotated[
    str,
    typer.Option("--output", metavar="DIR", help="Folder to write, or a URL (s3://bucket/place); new, or empty."),
]
MixtureOption = Annotated[str | None, typer.Option("--mixture", help="Of the spec; for megatron-args.")]
ProxyOption = Annotated[str | None, typer.Option("--proxy", help="Of the spec; needed where it has several.")]


def export(
    target: TargetArgument,
    output: OutputOption,
    form: FormatOption = None,
    mixture: MixtureOption = None,
    proxy: ProxyOption = None,
    merge: MergeOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Write a run, a mixture's blend, or a build in one piece, for another tool, and check what was written."""
    if merge == (form is not None):
        raise RequestError("export writes either --format huggingface, megatron or megatron-args, or --merge")
    if not merge and form != "megatron-args" and (mixture is not None or proxy is not None):
        raise RequestError(f"--mixture and --proxy go with --format megatron-args; {form} exports a run")
    if form == "megatron-args" and is_remote(output):
        raise RequestError(f"--output {output}: the flags name local files; give a folder")
    with export_folder(output) as folder:
        if merge:
            written = _merge(target, mixture or proxy, store, folder)
        elif form == "megatron-args":
            written = _megatron_args(target, mixture, proxy, store, folder)
        else:
            written = (_megatron if form == "megatron" else _huggingface)(target, folder)
    place = output if is_remote(output) else str(folder.resolve())
    for line in written.lines:
        stderr.print(f"{output.rstrip('/')}{line}", soft_wrap=True)
    if as_json:
        emit_json({"format": form or "merge", "output": place, **written.facts})


@dataclass(frozen=True)
class _Written:
    """What was exported."""

    facts: dict[str, object]
    """For `--json`."""
    lines: tuple[str, ...]
    """What to say of it behind its place."""


def _huggingface(run: str, output: Path) -> _Written:
    done = export_huggingface(run, output)
    check = done.tokenizer
    differs = (
        f"/{TOKENIZER_DIFFERS}: [bold yellow]warning:[/] the fast tokenizer gives other ids than the run's own on "
        f"{check.different:,} of {check.texts:,} texts"
    )
    said = (
        f": LlamaForCausalLM; logits within {done.largest_difference:.1e} of Megatron's at {done.logits_checked:,} "
        "places of held-out text"
    )
    facts: dict[str, object] = {
        "logits_checked": done.logits_checked,
        "largest_difference": done.largest_difference,
        "tokenizer_exact": check.exact,
    }
    return _Written(facts, (said,) if check.exact else (differs, said))


def _megatron(run: str, output: Path) -> _Written:
    done = export_megatron(run, output)
    said = f": iteration {done.iteration:,}, {done.weights:,} weights read back equal"
    return _Written({"iteration": done.iteration, "weights": done.weights}, (said,))


def _megatron_args(spec: str, mixture: str | None, proxy: str | None, store: str, output: Path) -> _Written:
    request = open_request(Path(spec), store)
    manifest = request.manifest()
    mixture = _one_of("mixture", mixture, list(request.spec.mixtures))
    proxy = _one_of("proxy", proxy, list(request.spec.train.proxies))
    budgets = plan_budgets(request.spec, {name: source.train.tokens for name, source in manifest.sources.items()})
    budget = budgets[mixture, proxy]
    files = export_megatron_args(request.spec, manifest, request.store, mixture, proxy, budget, output)
    said = f": {', '.join(files)}; {ARGS} holds the flags"
    return _Written({"mixture": mixture, "proxy": proxy, "files": files}, (said,))


def _merge(target: str, other: str | None, store: str, output: Path) -> _Written:
    if other is not None:
        raise RequestError("--mixture and --proxy go with --format megatron-args; --merge writes a whole build")
    if target.endswith(SPEC_SUFFIXES):
        request = open_request(Path(target), store)
        place, manifest = request.store, request.manifest()
    else:
        found = locate(target)
        place, manifest = found.store, read_manifest(found.fetch() / MANIFEST)
    with output_folder(output) as scratch:
        merged = merge_parts(place, manifest, scratch)
    lines = [f"/{one.prefix}: {one.parts} parts, {one.documents:,} documents, {one.tokens:,} tokens" for one in merged]
    return _Written({"build": manifest.build, "datasets": [asdict(one) for one in merged]}, tuple(lines))


def _one_of(what: str, name: str | None, names: list[str]) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        said = f"--{what} {name}: the spec has none of this name" if name else f"--{what} is needed"
        raise RequestError(f"{said}; it has {', '.join(names)}")
    return name
