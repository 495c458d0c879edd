"""Load external checkpoints without running any code in them.

A pickle can name any function and have it called. Torch's `weights_only` loading calls only the functions that build
tensors. Megatron-LM's checkpoints hold more than tensors (arguments with enums, generator states); their classes are
replaced here by `Inert`, which accepts any arguments and does nothing. Only names in a few known packages are replaced:
any other name is refused, because no checkpoint needs it. The index of a torch_dist checkpoint is a bare pickle that
torch would load unsafely; here only a fixed list of classes is allowed.
"""

from __future__ import annotations

import enum
import io
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from mixproof.ledger.errors import DamagedFileError, RequestError

KNOWN_PACKAGES = (
    *("argparse", "collections", "dataclasses", "enum", "numpy", "pathlib", "signal", "types"),
    *("apex", "megatron", "nemo", "torch", "transformer_engine"),
)
"""Packages whose classes occur in Megatron-LM's arguments, optimizer and random states; all become inert."""
KNOWN_NAMES = frozenset({"builtins.getattr", "__builtin__.getattr"})
"""How Python 3.11 pickles enum members; inert in `.pt` files, and only members of enums in an index."""
_METADATA, _FILES = "torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"
INDEX_NAMES = frozenset(
    {
        *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
        *((_METADATA, f"{kind}StorageMetadata") for kind in ("Tensor", "Bytes", "Chunk")),
        *((_METADATA, "_MEM_FORMAT_ENCODING"), (_FILES, "_StorageInfo"), (_FILES, "_StoragePrefix")),
        *(("torch", "Size"), ("torch.serialization", "_get_layout"), ("pathlib", "PosixPath")),
    }
)
"""Classes, and one function, of indexes. Whole modules are not safe: a pickle reaches what they import, as `os.system`
of a module that imports `os`."""
BROKEN = (RuntimeError, EOFError, ValueError, KeyError, IndexError, BadZipFile, UnicodeDecodeError, pickle.PickleError)
"""What torch raises for files that are truncated or not checkpoints."""


class Inert:
    """Replaces an object whose class is not loaded; it has the attributes of the pickle."""

    def __init__(self, *arguments: object) -> None:
        """Accept any arguments."""
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        """Keep a dict of attributes and ignore anything else."""
        if isinstance(state, dict):
            self.__dict__.update(state)


def load_pickled(path: Path) -> dict[str, Any]:
    """Load a `.pt` file: tensors memory-mapped, everything else inert.

    Raises:
        RequestError: when it names a class or function that no checkpoint needs; none of it is run.
        DamagedFileError: when it is truncated or not a torch file.
    """
    try:
        names = sorted(set(get_unsafe_globals_in_checkpoint(path)))
        refused = [name for name in names if name.partition(".")[0] not in KNOWN_PACKAGES and name not in KNOWN_NAMES]
        if refused:
            raise RequestError(
                f"{path}: the pickle references {', '.join(refused[:3])}, which no checkpoint needs; nothing in it was "
                "run. Do not load this file with any other tool"
            )
        inert: list[Any] = [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in names]
        with safe_globals(inert):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except BROKEN as error:
        raise DamagedFileError(str(path), "whole file", _first_line(path, error)) from None
    if not isinstance(loaded, dict):
        raise DamagedFileError(str(path), "whole file", f"contains a {type(loaded).__name__}, not a checkpoint")
    return loaded


def load_tensors(folder: Path, is_selected: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Load the tensors of a torch_dist checkpoint whose names are selected.

    Args:
        folder: has `.metadata` and `*.distcp`.
        is_selected: whether to load the tensor of a name.

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
            if isinstance(found, TensorStorageMetadata) and is_selected(name)
        }
        with warnings.catch_warnings():  # torch warns that it loads in one process, as requested
            warnings.filterwarnings("ignore", r"torch\.distributed is disabled", UserWarning)
            load_sharded(dict(tensors), storage_reader=reader, no_dist=True)
    except (*BROKEN, OSError, AttributeError, TypeError) as error:
        raise DamagedFileError(str(folder), "torch_dist checkpoint", _first_line(folder, error)) from None
    return tensors


def check_pickles(folder: Path) -> None:
    """Check what the pickles of a run's checkpoint name, before Megatron loads them without a check.

    Raises:
        RequestError: when one names more than the classes of tensors and of an index.
        DamagedFileError: when a file is missing, truncated, or of another format.
    """
    try:
        backend = json.loads((folder / "metadata.json").read_bytes())["sharded_backend"]
        metadata = _Reader(folder).read_metadata()
        _check_sizes(folder, metadata)
        pickles = [(folder / "common.pt").read_bytes(), *_pickled_items(folder, metadata)]
        names = sorted({name for data in pickles for name in get_unsafe_globals_in_checkpoint(io.BytesIO(data))})
    except (*BROKEN, OSError, AttributeError, TypeError) as error:
        raise DamagedFileError(str(folder), "torch_dist checkpoint", _first_line(folder, error)) from None
    if names or backend != "torch_dist":
        what = f"a pickle references {', '.join(names[:3])}" if names else f"its format is {backend}"
        raise RequestError(f"{folder}: {what}, which no checkpoint of a run has; nothing in it was run")


def _pickled_items(folder: Path, metadata: Metadata) -> Iterator[bytes]:
    """The parts of a torch_dist checkpoint that are not tensors, such as the states of random numbers."""
    for index, info in metadata.storage_data.items():
        if isinstance(metadata.state_dict_metadata[index.fqn], BytesStorageMetadata):
            with (folder / info.relative_path).open("rb") as file:
                file.seek(info.offset)
                yield file.read(info.length)


class _IndexUnpickler(pickle.Unpickler):
    """Unpickles the index of a torch_dist checkpoint and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  a class
        if f"{module}.{name}" in KNOWN_NAMES:
            return _enum_member
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_type or (module, name) in INDEX_NAMES:
            return super().find_class(module, name)
        raise RequestError(
            f"the index .metadata references {module}.{name}, which no index needs; nothing in it was run"
        )


def _enum_member(owner: object, name: object) -> enum.Enum:
    """Stand in for `getattr`, by which Python 3.11.0 to 3.11.3 pickle members of enums, and give nothing else."""
    if isinstance(owner, enum.EnumMeta) and isinstance(name, str) and name in owner.__members__:
        return cast(enum.Enum, owner.__members__[name])
    raise RequestError(
        f"the index .metadata takes {name!r} from {owner!r}, which no index needs; nothing in it was run"
    )


class _Reader(FileSystemReader):
    """Torch's reader of sharded files with a safe unpickler for the index."""

    def read_metadata(self, *arguments: Any, **options: Any) -> Metadata:  # noqa: ANN401  torch's signature
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _IndexUnpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise ValueError(f"the index is a {type(metadata).__name__}")
        return metadata


def _check_sizes(folder: Path, metadata: Metadata) -> None:
    """Check that every piece is within its file."""
    needed: dict[str, int] = {}
    for info in metadata.storage_data.values():
        needed[info.relative_path] = max(needed.get(info.relative_path, 0), info.offset + info.length)
    for name, size in needed.items():
        if Path(name).name != name:
            raise RequestError(f"{folder}: the index names a file outside the checkpoint folder: {name}")
        found = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if found < size:
            raise DamagedFileError(str(folder / name), f"byte {found}", f"the file has {found} bytes and needs {size}")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _first_line(path: Path, error: Exception) -> str:
    size = f"{path.stat().st_size:,} bytes; " if path.is_file() else ""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{size}truncated or not a checkpoint: {reason}"
