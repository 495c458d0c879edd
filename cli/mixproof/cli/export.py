"""`mixproof export`: a run, or a mixture's blend, in the form of another tool.

`--format huggingface` writes a run as a model that transformers loads, logits checked; `--format megatron` as a
checkpoint that Megatron-LM loads, weights checked; `--format megatron-args` writes the data files and flags with which
stock Megatron-LM trains a mixture of a spec. `--merge` writes a build's parts as one dataset a source and side.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import MANIFEST, read_manifest
from mixproof.ledger.place import place_of
from mixproof.tokenize.merge import merge_parts
from mixproof.train.export_huggingface import TOKENIZER_DIFFERS, export_huggingface
from mixproof.train.export_megatron import export_megatron
from mixproof.train.megatron_args import ARGS, export_megatron_args
from mixproof.train.output_folder import output_folder
from mixproof.train.plan import plan_budgets

from .audit import SPEC_SUFFIXES
from .options import DEFAULT_STORE, JsonOption, StoreOption
from .output import emit_json, stderr
from .request import open_request

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
OutputOption = Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write; new, or empty.")]
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
) -> None:
    """Write a run, a mixture's blend, or a build in one piece, for another tool, and check what was written."""
    if merge == (form is not None):
        raise RequestError("export writes either --format huggingface, megatron or megatron-args, or --merge")
    if merge:
        result = _merge(target, mixture or proxy, store, output)
    elif form == "megatron-args":
        result = _megatron_args(target, mixture, proxy, store, output)
    elif mixture is not None or proxy is not None:
        raise RequestError(f"--mixture and --proxy go with --format megatron-args; {form} exports a run")
    elif form == "megatron":
        result = _megatron(target, output)
    else:
        result = _huggingface(target, output)
    if as_json:
        emit_json({"format": form or "merge", "output": str(output.resolve()), **result})


def _huggingface(run: str, output: Path) -> dict[str, object]:
    done = export_huggingface(run, output)
    check = done.tokenizer
    if not check.exact:
        stderr.print(
            f"[bold yellow]warning:[/] the fast tokenizer gives other ids than the run's own on {check.different:,} of "
            f"{check.texts:,} texts; see {output / TOKENIZER_DIFFERS}",
            soft_wrap=True,
        )
    stderr.print(
        f"{output}: LlamaForCausalLM; logits within {done.largest_difference:.1e} of Megatron's at "
        f"{done.logits_checked:,} places of held-out text",
        soft_wrap=True,
    )
    return {
        "logits_checked": done.logits_checked,
        "largest_difference": done.largest_difference,
        "tokenizer_exact": check.exact,
    }


def _megatron(run: str, output: Path) -> dict[str, object]:
    done = export_megatron(run, output)
    stderr.print(f"{output}: iteration {done.iteration:,}, {done.weights:,} weights read back equal", soft_wrap=True)
    return {"iteration": done.iteration, "weights": done.weights}


def _megatron_args(spec: str, mixture: str | None, proxy: str | None, store: str, output: Path) -> dict[str, object]:
    request = open_request(Path(spec), store)
    manifest = request.manifest()
    mixture = _one_of("mixture", mixture, list(request.spec.mixtures))
    proxy = _one_of("proxy", proxy, list(request.spec.train.proxies))
    budgets = plan_budgets(request.spec, {name: source.train.tokens for name, source in manifest.sources.items()})
    budget = budgets[mixture, proxy]
    files = export_megatron_args(request.spec, manifest, request.store, mixture, proxy, budget, output)
    stderr.print(f"{output}: {', '.join(files)}; {ARGS} holds the flags", soft_wrap=True)
    return {"mixture": mixture, "proxy": proxy, "files": files}


def _merge(target: str, other: str | None, store: str, output: Path) -> dict[str, object]:
    if other is not None:
        raise RequestError("--mixture and --proxy go with --format megatron-args; --merge writes a whole build")
    if target.endswith(SPEC_SUFFIXES):
        request = open_request(Path(target), store)
        place, manifest = request.store, request.manifest()
    else:
        found = place_of(target)
        place, manifest = found.store, read_manifest(found.fetch() / MANIFEST)
    with output_folder(output) as scratch:
        merged = merge_parts(place, manifest, scratch)
    for one in merged:
        line = f"{output / one.prefix}: {one.parts} parts, {one.documents:,} documents, {one.tokens:,} tokens"
        stderr.print(line, soft_wrap=True)
    return {"build": manifest.build, "datasets": [asdict(one) for one in merged]}


def _one_of(what: str, name: str | None, names: list[str]) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        said = f"--{what} {name}: the spec has none of this name" if name else f"--{what} is needed"
        raise RequestError(f"{said}; it has {', '.join(names)}")
    return name
