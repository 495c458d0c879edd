"""Search texts with an expression of the spec, for a limited time: an expression may backtrack without end."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.read.watch import PATIENCE_SECONDS, SLOWEST_BYTES_PER_SECOND


class TookTooLongError(Exception):
    """The time of a block is over."""


def search_all(
    pattern: re.Pattern[str], texts: Sequence[str], patience_seconds: float = PATIENCE_SECONDS
) -> list[re.Match[str] | None]:
    """The first match in each text, or None.

    Args:
        pattern: the expression.
        texts: the texts.
        patience_seconds: time for each text, in addition to a time for its size.

    Raises:
        RequestError: naming the expression and the text on which it did not finish.
    """
    found = []
    for text in texts:
        try:
            with _time_limit(patience_seconds + len(text) / SLOWEST_BYTES_PER_SECOND):
                match = pattern.search(text)
        except TookTooLongError:
            raise RequestError(
                f"labels: the regex {pattern.pattern!r} did not finish within {patience_seconds:g} s on the text "
                f"that begins with {text[:40]!r}; write it without repetitions inside repetitions, such as (a+)+"
            ) from None
        found.append(match)
    return found


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TookTooLongError in this block when the time is over; Python handles signals while it searches.

    Only the main thread handles signals; in others there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, _end)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _end(number: int, frame: FrameType | None) -> None:
    raise TookTooLongError
