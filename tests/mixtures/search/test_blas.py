"""Fitting uses one BLAS thread, and gives the threads back."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from mixproof.mixtures.search.blas import one_blas_thread


def blas_threads() -> set[int]:
    """Threads of every BLAS library in this process."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_one_thread_inside_and_as_many_as_before_outside() -> None:
    assert np.eye(2).sum() == 2  # NumPy's BLAS is loaded
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == before
