"""Objects and input files over a connection that cuts them short or flips their bits arrive whole, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.flaky_objects import Fault, FlakyObjects, flaky
from mixproof.ledger.errors import RequestError
from mixproof.ledger.store.store import Store
from mixproof.pipeline.readers.unchanged import hash_file
from object_store import ObjectStore, pointed_at
from ray_nodes import free_port

DATA = b"0123456789" * 1000
KEY = "ab" * 32


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[FlakyObjects]:
    """In front of the session's server."""
    _, port = object_store.endpoint.rsplit(":", 1)
    front = ("127.0.0.1", free_port())
    environment = {**object_store.environment, "AWS_ENDPOINT_URL": f"http://{front[0]}:{front[1]}"}
    with flaky(front, ("127.0.0.1", int(port)), share=0.5) as proxy, pointed_at(environment):
        yield proxy


@pytest.fixture
def url(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with an input file, and below `store` a store with one finished output."""
    bucket = object_store.bucket(tmp_path.name.replace("_", "-").lower())
    object_store.put(f"{bucket}/input.txt", DATA)
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "writer"))
    with Store(f"{bucket}/store").attempt("read", KEY) as attempt:
        attempt.path("part.bin").write_bytes(DATA)
        attempt.commit()
    monkeypatch.setenv("MIXPROOF_CACHE", str(tmp_path / "reader"))
    return bucket


@pytest.mark.parametrize(("fault", "sends_checksums"), [("short", False), ("flipped", True)])
def test_half_an_object_or_a_flipped_bit_is_requested_again(
    url: str, proxy: FlakyObjects, fault: Fault, sends_checksums: bool
) -> None:
    proxy.fault, proxy.sends_checksums = fault, sends_checksums
    assert hash_file(f"{url}/input.txt")[1] == hashlib.sha256(DATA).hexdigest()
    assert Store(f"{url}/store").path(f"read/{KEY}/part.bin").read_bytes() == DATA
    assert proxy.counts[fault] > 0


def test_a_flipped_bit_that_no_checksum_of_the_server_shows_is_found_by_the_receipt(
    url: str, proxy: FlakyObjects
) -> None:
    proxy.fault, proxy.sends_checksums = "flipped", False
    assert Store(f"{url}/store").path(f"read/{KEY}/part.bin").read_bytes() == DATA
    assert proxy.counts["flipped"] > 0


def test_what_always_arrives_short_is_refused(url: str, proxy: FlakyObjects) -> None:
    proxy.fault, proxy.share, proxy.sends_checksums = "short", 1, False
    with pytest.raises(RequestError, match="5,000 bytes arrived instead of the 10,000"):
        hash_file(f"{url}/input.txt")
    with pytest.raises(RequestError, match="5,000 of 10,000 bytes arrived"):
        Store(f"{url}/store").path(f"read/{KEY}/part.bin")
