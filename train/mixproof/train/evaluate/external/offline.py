"""Run code of task files without network access, in the tasks' folder, with a temporary data set cache."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

INTERNET = (socket.AF_INET, socket.AF_INET6)


@contextlib.contextmanager
def offline(folder: Path) -> Iterator[None]:
    """Run the block with `folder` as working directory, an empty cache, and no connections to the internet.

    Python in task files may call anything, so that connections are refused at the socket. Offline settings of the
    Hugging Face libraries only make their calls fail at once; they read the environment when they are imported, which
    is too late to set it here.
    """
    import datasets
    from huggingface_hub import constants

    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(_set(datasets.config, "HF_DATASETS_CACHE", Path(cache)))
        stack.enter_context(_set(datasets.config, "HF_HUB_OFFLINE", True))
        stack.enter_context(_set(constants, "HF_HUB_OFFLINE", True))
        stack.enter_context(_set(socket, "socket", _LocalSocket))
        stack.enter_context(_environment("TOKENIZERS_PARALLELISM", "false"))
        yield


class _LocalSocket(socket.socket):
    """A socket that does not connect to the internet."""

    def connect(self, address: Any) -> None:  # noqa: ANN401
        if self.family in INTERNET:
            _refuse(address)
        super().connect(address)

    def connect_ex(self, address: Any) -> int:  # noqa: ANN401
        if self.family in INTERNET:
            _refuse(address)
        return super().connect_ex(address)


def _refuse(address: object) -> NoReturn:
    raise ConnectionRefusedError(
        f"task files must not access the network (connection to {address}); put their data into the task folder"
    )


@contextlib.contextmanager
def _set(owner: Any, name: str, value: object) -> Iterator[None]:  # noqa: ANN401  a module
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
