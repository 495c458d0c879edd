"""The index of a torch_dist checkpoint is a pickle: what may be in it, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata

from mixproof.ledger.errors import DamagedFileError, RequestError
from mixproof.train.checkpoint.safe_loading import load_tensors


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
