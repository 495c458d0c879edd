"""Write a mixture's documents for another trainer: the frame that all such formats share.

A format says how the files of a source are written and how the shares are stated. The frame finds and checks the data,
writes the folder completely or not at all, and adds `mixture.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixproof.ledger.manifest import Manifest
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.phase_budget import PhaseBudget
from mixproof.train.request import Draw

from .mixture_data import SourceData, sources_of, write_statement
from .output_folder import output_folder


@dataclass(frozen=True)
class ExportedFiles:
    """What a format needs to state the shares of a mixture."""

    folder: Path
    """Where the files are while they are written."""
    location: str
    """Path or URL under which the other trainer will find the folder."""
    budget: RunBudget
    sources: Sequence[SourceData]
    files: Mapping[str, Sequence[str]]
    """Names of the files of each source, relative to `folder`."""

    def phase_files(self, stem: str, suffix: str) -> list[tuple[Path, PhaseBudget]]:
        """The file of each phase's shares: `STEM.SUFFIX`, or `STEM-phase-N.SUFFIX` if there are several."""
        phases = self.budget.phases
        ends = [f"-phase-{number + 1}" for number in range(len(phases))] if len(phases) > 1 else [""]
        return [(self.folder / f"{stem}{end}{suffix}", phase) for end, phase in zip(ends, phases, strict=True)]


@dataclass(frozen=True)
class TrainerFormat:
    """A format of another trainer."""

    name: str
    write_source: Callable[[SourceData, Path], list[str]]
    """Writes the files of a source into the folder of the export; returns their names, relative to it."""
    write_shares: Callable[[ExportedFiles], None]
    """Writes what states the shares of the sources."""


def export_mixture(
    form: TrainerFormat,
    manifest: Manifest,
    store: Store,
    names: tuple[str, str],
    budget: RunBudget,
    folder: Path,
    location: str,
    draws: Mapping[str, Draw] | None = None,
) -> list[SourceData]:
    """Write a mixture; return its sources.

    Args:
        form: the format.
        manifest: of the build in `store`.
        store: where the datasets are.
        names: mixture and proxy.
        budget: of the run, for shares.
        folder: to write; must not exist, or be empty.
        location: path or URL under which the other trainer will find the folder.
        draws: what the runs of the proxy read; None: all training documents.

    Raises:
        RequestError: when the folder is taken.
        DamagedFileError: when a file of the store is missing or damaged.
    """
    data = sources_of(manifest, store, budget, draws)
    with output_folder(folder) as scratch:
        files = {source.name: form.write_source(source, scratch) for source in data}
        form.write_shares(ExportedFiles(scratch, location, budget, data, files))
        write_statement(scratch, form.name, manifest, budget, names, data, files, is_draw=draws is not None)
    return data
