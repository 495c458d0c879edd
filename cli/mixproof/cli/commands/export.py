"""`mixproof export`: write a run, a mixture's blend or a build for another tool.

`--format huggingface` writes a run as a model that transformers loads and compares its logits with Megatron's.
`--format megatron` writes a checkpoint that Megatron-LM loads and reads its weights back. `--format megatron-args`
writes the data files and flags with which stock Megatron-LM trains a mixture of a spec. `--merge` joins a build's
parts into one dataset per source and side.
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
        help="Path or URL of a run; a spec for megatron-args; a spec or a build's manifest for --merge.",
    ),
]
FormatOption = Annotated[
    Literal["huggingface", "megatron", "megatron-args"] | None,
    typer.Option("--format", metavar="huggingface|megatron|megatron-args", help="Tool to write for."),
]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="Join a build's parts into one dataset per source and side.")
]
OutputOption = Annotated[
    str,
    typer.Option("--output", metavar="DIR", help="New or empty folder to write to, or a URL (s3://bucket/folder)."),
]
MixtureOption = Annotated[str | None, typer.Option("--mixture", help="For megatron-args: a mixture of the spec.")]
ProxyOption = Annotated[
    str | None, typer.Option("--proxy", help="For megatron-args: a proxy of the spec; needed when it has several.")
]


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
    """Write a run, a mixture's blend, or a merged build for another tool, and check what was written."""
    if merge == (form is not None):
        raise RequestError("export needs either --format huggingface, megatron or megatron-args, or --merge")
    if not merge and form != "megatron-args" and (mixture is not None or proxy is not None):
        raise RequestError(f"--mixture and --proxy are for --format megatron-args; --format {form} exports a run")
    if form == "megatron-args" and is_remote(output):
        raise RequestError(f"--output {output}: the written flags name local files, so give a local folder")
    with export_folder(output) as folder:
        if merge:
            written = _merge(target, mixture or proxy, store, folder)
        elif form == "megatron-args":
            written = _megatron_args(target, mixture, proxy, store, folder)
        else:
            written = (_megatron if form == "megatron" else _huggingface)(target, folder)
    location = output if is_remote(output) else str(folder.resolve())
    for line in written.lines:
        stderr.print(f"{output.rstrip('/')}{line}", soft_wrap=True)
    if as_json:
        emit_json({"format": form or "merge", "output": location, **written.facts})


@dataclass(frozen=True)
class _Written:
    """A finished export."""

    facts: dict[str, object]
    """For `--json`."""
    lines: tuple[str, ...]
    """Messages, each to be printed behind the output's path."""


def _huggingface(run: str, output: Path) -> _Written:
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
    return _Written(facts, (summary,) if check.exact else (differs, summary))


def _megatron(run: str, output: Path) -> _Written:
    done = export_megatron(run, output)
    summary = f": iteration {done.iteration:,}; {done.weights:,} weights read back and equal"
    return _Written({"iteration": done.iteration, "weights": done.weights}, (summary,))


def _megatron_args(spec: str, mixture: str | None, proxy: str | None, store: str, output: Path) -> _Written:
    request = open_request(Path(spec), store)
    manifest = request.manifest()
    mixture = _one_of("mixture", mixture, list(request.spec.mixtures))
    proxy = _one_of("proxy", proxy, list(request.spec.train.proxies))
    budgets = plan_budgets(request.spec, {name: source.train.tokens for name, source in manifest.sources.items()})
    budget = budgets[mixture, proxy]
    files = export_megatron_args(request.spec, manifest, request.store, mixture, proxy, budget, output)
    summary = f": {', '.join(files)}; the flags are in {ARGS}"
    return _Written({"mixture": mixture, "proxy": proxy, "files": files}, (summary,))


def _merge(target: str, other: str | None, store: str, output: Path) -> _Written:
    if other is not None:
        raise RequestError("--mixture and --proxy are for --format megatron-args; --merge writes a whole build")
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
