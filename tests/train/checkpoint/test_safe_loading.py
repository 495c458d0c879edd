"""The index of a torch_dist checkpoint is a pickle: what may be in it, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    BytesStorageMetadata,
    Metadata,
    MetadataIndex,
)

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.train.checkpoint.safe_loading import load_tensors
from mixproof.train.checkpoint.weights import load_weights


class Attribute:
    """Pickles as `getattr(owner, name)`, as Python 3.11.0 to 3.11.3 pickle members of enums."""

    def __init__(self, owner: object, name: str) -> None:
        self.taken = owner, name

    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return getattr, self.taken


def index_of(folder: Path, content: object) -> Path:
    (folder / ".metadata").write_bytes(pickle.dumps(content))
    return folder


def test_members_of_enums_are_read_in_the_spelling_of_early_python_3_11(tmp_path: Path) -> None:
    member = Attribute(_MEM_FORMAT_ENCODING, "TORCH_CONTIGUOUS_FORMAT")
    with pytest.raises(DamagedFileError, match="the index is a _MEM_FORMAT_ENCODING"):  # read, and not an index
        load_tensors(index_of(tmp_path, member), bool)


def test_attributes_of_anything_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="takes '__init__' from"):
        load_tensors(index_of(tmp_path, Attribute(Metadata, "__init__")), bool)
    with pytest.raises(RequestError, match="takes '__class__' from"):
        load_tensors(index_of(tmp_path, Attribute(_MEM_FORMAT_ENCODING, "__class__")), bool)


@pytest.mark.parametrize("module", ["metadata", "filesystem"])
def test_what_the_modules_of_an_index_import_cannot_be_reached(module: str, tmp_path: Path) -> None:
    """A pickle of protocol 4 may name an attribute of an attribute."""
    mark = tmp_path / "executed"
    names = [f"torch.distributed.checkpoint.{module}".encode(), b"os.system", f"touch {mark}".encode()]
    where, name, command = (b"\x8c" + bytes([len(each)]) + each for each in names)
    (tmp_path / ".metadata").write_bytes(b"\x80\x04" + where + name + b"\x93" + command + b"\x85R.")
    with pytest.raises(RequestError, match=r"os\.system, which no index needs; nothing in it was run"):
        load_tensors(tmp_path, bool)
    assert not mark.exists()


class Command:
    """Pickles as a call of `os.system`."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("where", ["index", "item", "common", "format"])
def test_a_checkpoint_of_a_run_that_would_run_code_is_refused_before_it_is_loaded(where: str, tmp_path: Path) -> None:
    mark, buffer, harmless = tmp_path / "executed", io.BytesIO(), io.BytesIO()
    attack = Command(f"touch {mark}")
    torch.save(attack, buffer)
    torch.save({"seed": torch.zeros(2)}, harmless)
    item = (buffer if where == "item" else harmless).getvalue()
    index = Metadata(
        {"numbers": BytesStorageMetadata()}, None, {MetadataIndex("numbers"): _StorageInfo("0", 3, len(item))}
    )
    (tmp_path / ".metadata").write_bytes(pickle.dumps(attack if where == "index" else index))
    (tmp_path / "0").write_bytes(b"abc" + item)
    (tmp_path / "common.pt").write_bytes((buffer if where == "common" else harmless).getvalue())
    backend = "zarr" if where == "format" else "torch_dist"
    (tmp_path / "metadata.json").write_text(f'{{"sharded_backend": "{backend}"}}')
    model: Any = torch.nn.Module()
    with pytest.raises(RequestError, match="nothing in it was run"):
        load_weights(model, tmp_path)
    assert not mark.exists()
