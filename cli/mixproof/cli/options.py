"""The options that every command shares, so that they read and work the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .logs import set_verbosity

STORE_VARIABLE = "MIXPROOF_STORE"
SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec: one YAML file is one experiment.")]
StoreOption = Annotated[
    str, typer.Option("--store", envvar=STORE_VARIABLE, metavar="URI", help="Where all outputs live.")
]
StoresOption = Annotated[
    list[str] | None,
    typer.Option("--store", metavar="URI", help="Where all outputs live; give it again to look in several stores."),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", envvar="RAY_ADDRESS", metavar="ADDRESS", help="A Ray cluster; default: this machine."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="CPUs to use on this machine; default: all of them.")
]
DeviceOption = Annotated[
    Literal["cpu", "cuda"] | None,
    typer.Option("--device", help="Where proxies train; default: cuda where this machine or the cluster has one now."),
]
WandbOption = Annotated[
    str | None,
    typer.Option(
        "--wandb", metavar="PROJECT", help="Send the curves of runs to this project of Weights & Biases as well."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else goes to stderr.")]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        callback=set_verbosity,
        help="Log what happens to stderr; -vv logs details, of the workers (in Ray's log files) too.",
    ),
]
DEFAULT_STORE = ".mixproof"
