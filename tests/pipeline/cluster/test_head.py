"""A head that accepts connections and does not answer, as one whose process is stopped."""

from __future__ import annotations

import socket
import time

import pytest
from ray.exceptions import AuthenticationError

from mixproof.ledger.errors import RequestError
from mixproof.pipeline.cluster.address import check_address
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.head import ask_head, check_head
from mixproof.pipeline.cluster.resources import SilentHeadError
from mixproof.pipeline.cluster.running import _job_config, _worker_environment


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


def test_what_a_shared_cluster_shows_about_a_command_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "a-secret-of-20-chars")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://reader:a-secret-of-20-chars@10.0.0.9:9000")
    shown = _worker_environment()
    assert shown["AWS_ENDPOINT_URL"] == "http://10.0.0.9:9000"
    assert "a-secret" not in repr(shown) and "a-secret" not in repr(_job_config()._serialize())


def test_an_address_with_credentials_is_refused_without_being_shown() -> None:
    assert check_address("10.0.0.1:6379") == "10.0.0.1:6379" and check_address("ray://10.0.0.1:10001")
    for address in ("reader:secret@10.0.0.1:6379", "10.0.0.1:6379?token=secret", "http://10.0.0.1:8265"):
        with pytest.raises(RequestError, match="not the address of a Ray cluster") as refused:
            Cluster(address)
        assert "secret" not in str(refused.value)
