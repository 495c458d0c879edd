"""The writer's files against Megatron's own builder and reader."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron.core.datasets.indexed_dataset import DType, IndexedDataset, IndexedDatasetBuilder

from mixproof.ledger.errors import DamagedFileError
from mixproof.tokenize.dataset.indexed import append_eods, read_index, token_dtype, write_index

EOD = 2


def write_ours(prefix: Path, documents: list[list[int]], vocab_size: int) -> None:
    dtype = token_dtype(vocab_size)
    lengths = np.array([len(document) for document in documents], np.int64)
    ids = np.array([token for document in documents for token in document], np.int64)
    tokens = append_eods(ids, lengths, EOD, dtype)
    prefix.with_suffix(".bin").write_bytes(tokens.tobytes())
    write_index(prefix.with_suffix(".idx"), (lengths + 1).astype(np.int32), dtype)


def write_megatrons(prefix: Path, documents: list[list[int]], vocab_size: int) -> None:
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=DType.optimal_dtype(vocab_size))
    for document in documents:
        builder.add_item(torch.tensor([*document, EOD], dtype=torch.int64))
        builder.end_document()
    builder.finalize(f"{prefix}.idx")


documents_of_ids = st.lists(st.lists(st.integers(0, 65_499), min_size=1, max_size=20), min_size=1, max_size=30)


@settings(max_examples=30)
@given(documents=documents_of_ids, vocab_size=st.sampled_from([65_499, 65_500, 130_000]))
def test_the_files_equal_those_of_megatrons_builder(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], vocab_size: int
) -> None:
    folder = tmp_path_factory.mktemp("indexed")
    write_ours(folder / "ours", documents, vocab_size)
    write_megatrons(folder / "megatrons", documents, vocab_size)
    for suffix in (".bin", ".idx"):
        assert (folder / f"ours{suffix}").read_bytes() == (folder / f"megatrons{suffix}").read_bytes()


def test_megatron_reads_every_document_with_its_eod(tmp_path: Path) -> None:
    write_ours(tmp_path / "part", [[5, 6, 7], [8], [9, 9]], 100)
    dataset = IndexedDataset(str(tmp_path / "part"))
    assert len(dataset) == 3
    assert [dataset[i].tolist() for i in range(3)] == [[5, 6, 7, EOD], [8, EOD], [9, 9, EOD]]
    assert dataset.document_indices.tolist() == [0, 1, 2, 3]


def test_the_dtype_is_uint16_below_a_vocabulary_of_65500_and_int32_from_there() -> None:
    assert token_dtype(65_499) == np.uint16
    assert token_dtype(65_500) == np.int32


def test_an_empty_document_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="0 to 2 ids"):
        append_eods(np.array([4, 5]), np.array([2, 0]), EOD, np.dtype(np.uint16))


def test_lengths_that_do_not_sum_to_the_ids_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="lengths sum to 3, but there are 2 ids"):
        append_eods(np.array([4, 5]), np.array([3]), EOD, np.dtype(np.uint16))


def test_an_index_is_read_back_with_the_place_of_every_document(tmp_path: Path) -> None:
    write_ours(tmp_path / "part", [[5, 6, 7], [8]], 100)
    index = read_index(tmp_path / "part.idx")
    assert index.dtype == np.uint16
    assert index.lengths.tolist() == [4, 2]
    assert index.starts.tolist() == [0, 4, 6]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: data[:-1], "an index of 2 sequences takes 82 bytes"),
        (lambda data: b"X" + data[1:], "not a Megatron index"),
        (lambda data: data[:20], "not a Megatron index"),
        (lambda data: data[:9] + b"\x02" + data[10:], "one sequence per document"),
    ],
)
def test_a_damaged_index_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], what: str) -> None:
    write_ours(tmp_path / "part", [[5, 6, 7], [8]], 100)
    path = tmp_path / "part.idx"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFileError, match=what):
        read_index(path)
