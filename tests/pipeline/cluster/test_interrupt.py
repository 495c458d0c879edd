"""Ctrl-C during a stage."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from mixproof.pipeline.cluster.interrupt import Interrupts


@pytest.fixture(autouse=True)
def python_handles_ctrl_c() -> Iterator[None]:
    """Python's own handler, as in a command; afterwards the one of the test session."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_that_a_callback_swallowed_is_raised_at_the_next_check() -> None:
    interrupts = Interrupts()
    interrupts.watch()
    interrupts.check()
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    interrupts.ignore()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_else_stays() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupts = Interrupts()
    interrupts.watch()
    signal.raise_signal(signal.SIGINT)
    interrupts.check()
    interrupts.ignore()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
