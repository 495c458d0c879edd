"""A head that accepts connections and does not answer, as one whose process is stopped."""

from __future__ import annotations

import socket
import time

import pytest
from ray.exceptions import AuthenticationError

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.cluster.head import ask_head, check_head
from mixproof.pipeline.cluster.resources import SilentHeadError


@pytest.fixture(autouse=True)
def one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for answers as long as that."""
    monkeypatch.setattr("mixproof.pipeline.cluster.head.ANSWER_SECONDS", 1.0)


def test_a_question_without_an_answer_is_given_up() -> None:
    assert ask_head(lambda: "answer") == "answer"
    with pytest.raises(ValueError, match="invalid literal"):
        ask_head(lambda: int("no such"))
    with pytest.raises(SilentHeadError, match="has not answered for 1 s"):
        ask_head(lambda: time.sleep(3))


def test_a_command_does_not_join_a_cluster_whose_head_is_stopped() -> None:
    with socket.socket() as stopped:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        with pytest.raises(RequestError, match=f"no Ray cluster answers at {address}; check --address"):
            check_head(address)


def test_a_missing_token_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(address: str) -> None:
        raise AuthenticationError(f"InvalidAuthToken at {address}")

    monkeypatch.setattr("mixproof.pipeline.cluster.head.GcsClient", refused)
    with pytest.raises(RequestError, match=r"127\.0\.0\.1:1 requires a token: set RAY_AUTH_MODE=token and put"):
        check_head("127.0.0.1:1")
