"""An S3 server of this machine, over real HTTP: moto's, in a process of its own.

Everything that reads its place from the environment (botocore, s3fs, commands that tests start) finds it there. A Ray
that started earlier has the older environment: use a cluster of your own, or a command.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

START_SECONDS = 120


@dataclass(frozen=True)
class ObjectStore:
    """A running server."""

    endpoint: str
    environment: Mapping[str, str]
    """What a process needs to find it; set in this one."""

    def filesystem(self) -> Any:  # noqa: ANN401  fsspec ships no types
        """The server's objects, with nothing remembered."""
        filesystem = fsspec.filesystem("s3")
        filesystem.invalidate_cache()
        return filesystem

    def bucket(self, name: str) -> str:
        """Make a bucket; its URL."""
        self.filesystem().mkdir(name)
        return f"s3://{name}"

    def put(self, url: str, data: bytes) -> None:
        """Write one object."""
        self.filesystem().pipe_file(url, data)


@contextmanager
def serve_objects() -> Iterator[ObjectStore]:
    """Run a server and point this process's environment at it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with pointed_at(environment):
            _wait(server, endpoint)
            yield ObjectStore(endpoint, environment)
    finally:
        server.terminate()
        server.wait()


@contextmanager
def pointed_at(environment: Mapping[str, str]) -> Iterator[None]:
    """Point this process at a server; afterwards at the one before it.

    fsspec hands out one file system again and again, and that one keeps the address it first connected to.
    """
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def _wait(server: subprocess.Popen[bytes], endpoint: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5):  # noqa: S310  our own http server
                return
        except OSError:
            assert server.poll() is None and time.monotonic() < end, f"no answer of moto's server at {endpoint}"
            time.sleep(0.1)
