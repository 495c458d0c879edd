"""Options that several commands share, so that they read and work the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.values.quantities import parse_tokens
from mixproof.pipeline.cluster.address import check_address

from .logs import set_verbosity
from .progress.show import set_quiet

STORE_VARIABLE = "MIXPROOF_STORE"
SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="Spec file (YAML); one spec is one experiment.")]
StoreOption = Annotated[
    str,
    typer.Option("--store", envvar=STORE_VARIABLE, metavar="URI", help="Folder or URL of the store of all outputs."),
]
StoresOption = Annotated[
    list[str] | None,
    typer.Option("--store", metavar="URI", help="Store of all outputs; repeat the option to search several stores."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        metavar="ADDRESS",
        callback=check_address,
        help="Address of a Ray cluster; default: this machine.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="CPUs to use on this machine; default: all of them.")
]
DeviceOption = Annotated[
    Literal["cpu", "cuda"] | None,
    typer.Option("--device", help="Device for training; default: cuda if this machine or the cluster has a GPU now."),
]
RunMixtureOption = Annotated[str | None, typer.Option("--mixture", help="With a spec: the run's mixture.")]
RunProxyOption = Annotated[str | None, typer.Option("--proxy", help="With a spec: the run's proxy.")]
RunSeedOption = Annotated[int | None, typer.Option("--seed", help="With a spec: the run's seed.")]
WandbOption = Annotated[
    str | None,
    typer.Option("--wandb", metavar="PROJECT", help="Also log the runs' curves to this Weights & Biases project."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", callback=set_quiet, help="Show no progress; warnings and errors are shown.")
]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        callback=set_verbosity,
        help="Log events to stderr; -vv adds details, and has the workers log details to Ray's log files.",
    ),
]
DEFAULT_STORE = ".mixproof"


def read_quantities(option: str, text: str) -> dict[str, int]:
    """Read `parameters=7B,tokens=4T`: positive whole numbers by name, also spelled as 7e9.

    Raises:
        RequestError: when one of them is not.
    """
    given = dict(part.partition("=")[::2] for part in text.replace(" ", "").split(","))
    try:
        return {name: _count(value) for name, value in given.items()}
    except ValueError:
        example = "parameters=7B,tokens=7e9"
        raise RequestError(f"{option} {text}: give positive whole numbers by name, such as {example}") from None


def _count(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        return parse_tokens(text)
    return int(number) if number.is_integer() and number > 0 else parse_tokens(text)
