"""Names of the files of an export for stock Megatron-LM."""

from __future__ import annotations

from mixproof.ledger.errors import RequestError

ARGS = "args.txt"
TOKENIZER_FOLDER = "tokenizer"


def args_file(phase: int) -> str:
    """The file of all flags of a phase, counted from 0."""
    return ARGS if phase == 0 else f"args-phase-{phase + 1}.txt"


def data_files(phase: int, phases: int) -> tuple[str, str, str]:
    """The three data files of a phase, as the module `megatron_args` lists them."""
    end = f"-phase-{phase + 1}" if phases > 1 else ""
    return f"data-args{end}.txt", f"per-split-data-args{end}.json", f"blend{end}.json"


def without_white_space(path: str) -> str:
    """The path itself.

    Raises:
        RequestError: when Megatron-LM would split it.
    """
    if len(path.split()) != 1:
        raise RequestError(
            f"{path}: Megatron-LM splits its data arguments at white space; use a path without white space"
        )
    return path
