"""`mixproof doctor`: what this machine has, and what each command still needs."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import typer
from rich.markup import escape

from mixproof.cli.machine.extras import Extra, find_extras, install_line, version_of
from mixproof.cli.machine.processors import Memory, Processors, find_memory, find_processors
from mixproof.cli.machine.readiness import Readiness, check_readiness
from mixproof.cli.machine.storage import SHARED_MEMORY, Storage, find_storage, shared_memory_bytes
from mixproof.cli.options import DEFAULT_STORE, JsonOption, StoreOption, VerboseOption
from mixproof.cli.output import amount, emit_json, stdout
from mixproof.ledger.errors import RequestError
from mixproof.ledger.version import VERSION
from mixproof.pipeline.cluster.address import check_address

LABEL = 10
"""Columns of a line's label."""
LITTLE_MEMORY = 2_000_000_000
"""Bytes per processor below which workers of the larger filters and of training may be killed."""
LITTLE_SHARED_MEMORY = 200_000_000
"""Bytes of /dev/shm below which Ray keeps its objects on the disk; Docker gives 64 MB."""


@dataclass(frozen=True)
class Machine:
    """Everything that doctor looks at."""

    processors: Processors
    memory: Memory
    shared_memory: int | None
    gpus: tuple[str, ...]
    torch_problem: str | None
    """Why torch, which is installed, cannot be imported."""
    storage: Storage
    extras: dict[str, Extra]
    commands: list[Readiness]

    @property
    def warnings(self) -> list[str]:
        """What may fail later, each with the way out."""
        found = []
        memory = self.memory.limit or self.memory.total
        if memory < LITTLE_MEMORY * self.processors.usable:
            workers = max(1, int(memory / LITTLE_MEMORY))
            found.append(f"less than 2 GB of memory per processor; with large filters, give --workers {workers}")
        if self.shared_memory is not None and self.shared_memory < LITTLE_SHARED_MEMORY:
            shown = f"{amount(self.shared_memory)}B"
            found.append(f"{SHARED_MEMORY} has {shown}, so Ray is slow; start the container with --shm-size=1g")
        if self.torch_problem is not None:
            found.append(f"torch is installed and cannot be imported: {self.torch_problem}")
        elif self.extras["train"].packages["torch"] and not self.gpus:
            found.append("torch finds no GPU; proxies train on the CPU")
        return found


def doctor(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False, verbose: VerboseOption = 0) -> None:
    """Show what this machine has and what each command still needs; exit code 1 if the store cannot be used."""
    machine = look(store)
    if as_json:
        emit_json(doctor_json(machine))
    else:
        for line in _lines(machine):
            stdout.print(line, soft_wrap=True)
    if machine.storage.problem is not None:
        raise typer.Exit(1)


def look(store: str) -> Machine:
    """Look at the machine; torch is imported, if it is installed, to ask for GPUs."""
    extras = find_extras()
    gpus, torch_problem = _gpus() if extras["train"].packages["torch"] else ((), None)
    return Machine(
        processors=find_processors(),
        memory=find_memory(),
        shared_memory=shared_memory_bytes(),
        gpus=gpus,
        torch_problem=torch_problem,
        storage=find_storage(store),
        extras=extras,
        commands=check_readiness(extras),
    )


def _gpus() -> tuple[tuple[str, ...], str | None]:
    """The GPUs that torch finds, or why it cannot be asked."""
    try:
        cuda = importlib.import_module("torch").cuda
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        return (), str(error).splitlines()[0]
    names = [
        f"{cuda.get_device_name(number)}, {amount(cuda.get_device_properties(number).total_memory)}B"
        for number in range(cuda.device_count())
    ]
    return tuple(names), None


def doctor_json(machine: Machine) -> dict[str, object]:
    """Give the JSON form; sizes are bytes, missing versions null."""
    return {
        "ok": machine.storage.problem is None,
        "mixproof": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ray": version_of("ray"),
        "processors": asdict(machine.processors),
        "memory": asdict(machine.memory),
        "shared_memory_bytes": machine.shared_memory,
        "gpus": list(machine.gpus),
        "store": asdict(machine.storage),
        "extras": {
            name: {"installed": extra.installed, "packages": extra.packages, "install": install_line(name)}
            for name, extra in machine.extras.items()
        },
        "commands": [
            {
                "what": one.what,
                "ready": one.ready,
                "missing": list(one.missing),
                "install": None if one.ready else install_line(*one.missing),
            }
            for one in machine.commands
        ],
        "warnings": machine.warnings,
    }


def _lines(machine: Machine) -> Iterator[str]:
    yield "[bold]This machine[/]"
    yield from (f"  {label:<{LABEL}} {escape(text)}" for label, text in _facts(machine))
    yield "\n[bold]Extras[/]"
    for name, extra in machine.extras.items():
        yield f"  {name:<{LABEL}} {escape(_versions(extra))}"
    yield "\n[bold]Commands[/]"
    for one in machine.commands:
        yield f"  [green]ready[/]    {escape(one.what)}" if one.ready else f"  [yellow]missing[/]  {escape(one.what)}"
        if not one.ready:
            yield f"           {escape(install_line(*one.missing))}"
    if machine.warnings:
        yield "\n[bold]Warnings[/]"
        yield from (f"  {escape(warning)}" for warning in machine.warnings)
    if machine.storage.problem is not None:
        yield f"\n[bold red]The store cannot be used:[/] {escape(machine.storage.problem)}"


def _facts(machine: Machine) -> Iterator[tuple[str, str]]:
    yield "mixproof", f"{VERSION}, Python {platform.python_version()}, {sys.platform}"
    processors, memory, storage = machine.processors, machine.memory, machine.storage
    yield "processors", f"{processors.present}, of which {processors.usable:g} usable"
    limit = "" if memory.limit is None else f", limited to {amount(memory.limit)}B by the cgroup"
    yield "memory", f"{amount(memory.total)}B, {amount(memory.available)}B available{limit}"
    yield "GPUs", "; ".join(machine.gpus) or ("none" if machine.extras["train"].packages["torch"] else "not checked")
    yield "Ray", f"{version_of('ray')}, {_where_ray_is()}"
    yield "store", storage.store
    state = "exists" if storage.exists else "is made by the first build"
    free = "" if storage.free_bytes is None else f", {amount(storage.free_bytes)}B free"
    yield "", f"{state}{free}" + (", writable" if storage.problem is None else ", not usable")


def _where_ray_is() -> str:
    try:
        address = check_address(os.environ.get("RAY_ADDRESS"))
    except RequestError as error:
        return str(error)
    return f"joins the cluster {address}" if address else "starts on this machine"


def _versions(extra: Extra) -> str:
    if extra.installed:
        return ", ".join(f"{name} {version}" for name, version in extra.packages.items())
    return "not installed" + (f": {', '.join(extra.missing)}" if len(extra.missing) < len(extra.packages) else "")
