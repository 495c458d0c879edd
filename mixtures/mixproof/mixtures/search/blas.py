"""Limit BLAS and LAPACK to one thread while predictors are fitted.

The matrices of a search are small (at most some hundred rows), so that threads of BLAS spend more time on waiting for
each other than on arithmetic: on 40 mixtures and two cores a search took 9.0 s with two BLAS threads and 0.6 s with
one. Scores are fitted in parallel instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run the block with one BLAS thread; the limit is that of the process, so enter it before starting threads."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
