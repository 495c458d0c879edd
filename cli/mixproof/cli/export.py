"""`mixproof export`: a run, or a mixture's blend, in the form of another tool.

`--format huggingface` writes a run as a model that transformers loads, logits checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixproof.train.export_huggingface import TOKENIZER_DIFFERS, export_huggingface

from .options import JsonOption
from .output import emit_json, stderr

TargetArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder or its run.json.")]
FormatOption = Annotated[Literal["huggingface"], typer.Option("--format", help="Which tool it is for.")]
OutputOption = Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write; new, or empty.")]


def export(target: TargetArgument, form: FormatOption, output: OutputOption, as_json: JsonOption = False) -> None:
    """Write a run for another tool, and check what was written."""
    result = _huggingface(target, output)
    if as_json:
        emit_json({"format": form, "output": str(output.resolve()), **result})


def _huggingface(run: Path, output: Path) -> dict[str, object]:
    done = export_huggingface(run, output)
    check = done.tokenizer
    if not check.exact:
        stderr.print(
            f"[bold yellow]warning:[/] the fast tokenizer gives other ids than SentencePiece on {check.different:,} of "
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
