"""Ask the head of a Ray cluster without waiting for it forever.

A head that is stopped, as on a machine that swaps or was paused, still accepts connections, and Ray waits for its
answers without an end; not even Ctrl-C ends that. Such calls are therefore made in a thread that the command does not
wait for longer than a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Thread
from typing import TypeVar

from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # a compiled module
from ray.exceptions import AuthenticationError, RayError, RpcError

from mixproof.ledger.errors import RequestError

from .resources import SilentHeadError

T = TypeVar("T")

ANSWER_SECONDS = 60.0
"""How long the head may take to answer."""


def ask_head(question: Callable[[], T]) -> T:
    """Return what a function returns that asks the head of the cluster.

    Raises:
        SilentHeadError: when it has not returned after ANSWER_SECONDS. Its thread is left behind.
    """
    answer: Future[T] = Future()
    Thread(target=_answer, args=(question, answer), daemon=True).start()
    try:
        return answer.result(timeout=ANSWER_SECONDS)
    except FutureTimeoutError:
        if answer.done():
            raise
        raise SilentHeadError(
            f"the head of the Ray cluster has not answered for {ANSWER_SECONDS:.0f} s: its machine may be stopped, "
            "out of memory, or unreachable. Start the cluster again, then the same command: it resumes"
        ) from None


def check_head(address: str) -> None:
    """Check that a head answers at an address before `ray.init`, which would try for many minutes without a word.

    Raises:
        RequestError: when nothing answers there within ANSWER_SECONDS, or less if Ray gives up, or a token is missing.
    """

    def connect() -> None:
        found = canonicalize_bootstrap_address(address)
        if found is not None:
            GcsClient(address=found)

    try:
        ask_head(connect)
    except (SilentHeadError, RpcError) as error:
        if isinstance(error, RpcError) and "Timed out" not in str(error):
            return  # what it is, `ray.init` says
        failed = RequestError(
            f"no Ray cluster answers at {address}; check --address, and whether its head runs there and is not stopped"
        )
        failed.leaves_threads = isinstance(error, SilentHeadError)
        raise failed from error
    except AuthenticationError as error:
        raise needs_token(address) from error
    except (RayError, ConnectionError, RuntimeError, ValueError):
        return


def needs_token(host: str) -> RequestError:
    """The error of a cluster that requires a token which this process does not have."""
    return RequestError(
        f"the Ray cluster at {host} requires a token: set RAY_AUTH_MODE=token and put the cluster's token into "
        "RAY_AUTH_TOKEN or ~/.ray/auth_token"
    )


def _answer(question: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(question())
    except BaseException as error:  # noqa: BLE001  it is raised where the answer is awaited
        answer.set_exception(error)
