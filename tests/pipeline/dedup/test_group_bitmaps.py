"""What shards lost to each other."""

from __future__ import annotations

import numpy as np

from mixproof.pipeline.dedup.lost_documents import sums_by_keeper
from mixproof.pipeline.group import shards_of


def test_documents_have_the_shard_that_they_are_in_across_empty_shards() -> None:
    # shards of 2, 0, 3 and 0 documents
    assert shards_of(np.array([0, 1, 2, 4]), [0, 2, 2, 5]).tolist() == [0, 0, 2, 2]


def test_documents_and_bytes_are_added_up_by_the_shard_of_the_keeper() -> None:
    assert sums_by_keeper(np.array([2, 0, 2]), np.array([10, 5, 7])) == [[0, 1, 5], [2, 2, 17]]
    assert sums_by_keeper(np.array([], dtype=np.int64), np.array([], dtype=np.int64)) == []
