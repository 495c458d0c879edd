"""Reading checkpoints of others without running anything that is in them.

A pickle can name any function and have it called. Torch's `weights_only` loading calls none but those that make
tensors; Megatron-LM's checkpoints hold more than tensors (arguments with enums, generators' states), whose classes are
replaced here by `Inert`, which takes whatever it is given and does nothing. Only names below a few known packages are
replaced: anything else is refused by its name, because no checkpoint needs it. The index of a torch_dist checkpoint is
a bare pickle, which torch would load as such; its classes are a fixed list.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from mixproof.ledger.errors import DamagedFileError, RequestError

KNOWN_PACKAGES = (
    *("argparse", "collections", "dataclasses", "enum", "numpy", "pathlib", "signal", "types"),
    *("apex", "megatron", "nemo", "torch", "transformer_engine"),
)
"""Whose classes stand in Megatron-LM's arguments, optimizer and random states; all of them become inert."""
KNOWN_NAMES = frozenset({"builtins.getattr", "__builtin__.getattr"})
"""How Python 3.11 writes members of enums; inert as well."""
INDEX_MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
INDEX_NAMES = frozenset({("torch", "Size"), ("torch.serialization", "_get_layout")})
BROKEN = (RuntimeError, EOFError, ValueError, KeyError, IndexError, BadZipFile, UnicodeDecodeError, pickle.PickleError)
"""What torch raises on files that are cut or no checkpoints."""


class Inert:
    """Stands for an object of a class that is not loaded; its attributes are those of the pickle."""

    def __init__(self, *arguments: object) -> None:
        """Take anything."""
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        """Keep a dict of attributes, nothing else."""
        if isinstance(state, dict):
            self.__dict__.update(state)


def load_pickled(path: Path) -> dict[str, Any]:
    """Load a `.pt` file: tensors as they are (mapped from the file), everything else inert.

    Raises:
        RequestError: when it names a class or function that no checkpoint needs; nothing of it is run.
        DamagedFileError: when it is truncated or is no file of torch.
    """
    try:
        names = sorted(set(get_unsafe_globals_in_checkpoint(path)))
        refused = [name for name in names if name.partition(".")[0] not in KNOWN_PACKAGES and name not in KNOWN_NAMES]
        if refused:
            raise RequestError(
                f"{path}: the file asks to run or build {', '.join(refused[:3])}, which no checkpoint needs; nothing "
                "of it was run. Do not load it with anything else"
            )
        inert: list[Any] = [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in names]
        with safe_globals(inert):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except BROKEN as error:
        raise DamagedFileError(str(path), "whole file", _first_line(path, error)) from None
    if not isinstance(loaded, dict):
        raise DamagedFileError(str(path), "whole file", f"holds a {type(loaded).__name__}, no checkpoint")
    return loaded


def load_tensors(folder: Path, wanted: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Load the tensors of a torch_dist checkpoint whose names are `wanted`.

    Args:
        folder: with `.metadata` and `*.distcp`.
        wanted: whether a name is asked for.

    Raises:
        RequestError: when its index names a class that no index needs.
        DamagedFileError: when a file is missing or truncated.
    """
    reader = _Reader(folder)
    try:
        metadata = reader.read_metadata()
        _check_sizes(folder, metadata)
        tensors = {
            name: torch.empty(found.size, dtype=found.properties.dtype)
            for name, found in metadata.state_dict_metadata.items()
            if isinstance(found, TensorStorageMetadata) and wanted(name)
        }
        with warnings.catch_warnings():  # torch says that it loads in one process, which it was asked to
            warnings.filterwarnings("ignore", r"torch\.distributed is disabled", UserWarning)
            load_sharded(dict(tensors), storage_reader=reader, no_dist=True)
    except (*BROKEN, OSError, AttributeError) as error:
        raise DamagedFileError(str(folder), "torch_dist checkpoint", _first_line(folder, error)) from None
    return tensors


class _IndexUnpickler(pickle.Unpickler):
    """Builds the index of a torch_dist checkpoint and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  a class
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_type or module in INDEX_MODULES or (module, name) in INDEX_NAMES:
            return super().find_class(module, name)
        raise RequestError(
            f"the index .metadata asks to run or build {module}.{name}, which no index needs; nothing of it was run"
        )


class _Reader(FileSystemReader):
    """Torch's reader of sharded files, with an index that cannot run anything."""

    def read_metadata(self, *arguments: Any, **options: Any) -> Metadata:  # noqa: ANN401  as torch's
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _IndexUnpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise ValueError(f"the index is a {type(metadata).__name__}")
        return metadata


def _check_sizes(folder: Path, metadata: Metadata) -> None:
    """Every piece lies inside its file."""
    needed: dict[str, int] = {}
    for info in metadata.storage_data.values():
        needed[info.relative_path] = max(needed.get(info.relative_path, 0), info.offset + info.length)
    for name, size in needed.items():
        if Path(name).name != name:
            raise RequestError(f"{folder}: the index names a file outside the checkpoint: {name}")
        found = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if found < size:
            raise DamagedFileError(str(folder / name), f"byte {found}", f"{size} bytes are needed, {found} are there")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _first_line(path: Path, error: Exception) -> str:
    size = f"{path.stat().st_size:,} bytes; " if path.is_file() else ""
    return f"{size}truncated or no checkpoint: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
