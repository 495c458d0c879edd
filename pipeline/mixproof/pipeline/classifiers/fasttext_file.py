"""A fastText model: found, identified by its content, loaded once per process, and asked."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.pipeline.fasttext_layout import check_layout

PREFIX = "__label__"
MAGIC = (793_712_314).to_bytes(4, "little")
"""First bytes of a model (fastText, `FASTTEXT_FILEFORMAT_MAGIC_INT32`)."""


def check_model(path: str) -> None:
    """Refuse a file whose first bytes are not those of a model, because loading a large one takes long.

    Raises:
        RequestError: when there is no file, or it is another kind of file.
    """
    _check_file(path)
    with Path(path).open("rb") as file:
        start = file.read(len(MAGIC))
    if start != MAGIC:
        kind = "a Parquet file" if start == b"PAR1" else f"a file that starts with {start!r}"
        raise RequestError(f"{path}: not a fastText model, but {kind}; give the model's `.bin` or `.ftz` file")


def sha256_of_model(path: str) -> str:
    """SHA-256 of a model's file.

    Raises:
        RequestError: when there is none.
    """
    _check_file(path)
    status = Path(path).stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def _check_file(path: str) -> None:
    if not Path(path).is_file():
        raise RequestError(f"{path}: no such file; give the path of a fastText model that every worker can read")


@functools.lru_cache(maxsize=64)
def _sha256(path: str, *_version: int) -> str:
    return sha256_of_file(Path(path))


def load_fasttext(path: str, sha256: str, label: str | None) -> Any:  # noqa: ANN401 - fasttext ships no types
    """Load a model whose content is known, and check that it has `label`.

    Raises:
        RequestError: when it has changed, is not a fastText model, has no such label, or fasttext is not installed.
    """
    check_unchanged(path, sha256)
    model = _loaded(path, sha256)
    known = [name.removeprefix(PREFIX) for name in model.get_labels()]
    if label is not None and label not in known:
        raise RequestError(f"{path}: the model has no label {label!r}; it has {', '.join(sorted(known)[:20])}")
    return model


def check_unchanged(path: str, sha256: str) -> None:
    """Refuse a model that has another content than when the command started.

    Raises:
        RequestError: naming the file.
    """
    if sha256_of_model(path) != sha256:
        raise RequestError(f"{path}: changed since the command started; make sure that nothing writes to it")


@functools.lru_cache(maxsize=4)
def _loaded(path: str, _sha256: str) -> Any:  # noqa: ANN401 - as above
    check_installed(path)
    try:
        check_layout(path)
        return importlib.import_module("fasttext.FastText")._FastText(model_path=path)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise RequestError(f"{path}: not a fastText model: {error}") from error


def check_installed(needs: str) -> None:
    """Raise if the package that scores texts is missing; `needs` names what requires it.

    Raises:
        RequestError: saying what to install.
    """
    try:
        importlib.import_module("fasttext.FastText")
    except ImportError as error:
        raise RequestError(f"{needs}: {error}: pip install 'mixproof[documents]'") from error


def predict(model: Any, text: str, most: int) -> dict[str, float]:  # noqa: ANN401 - as above
    """The labels of a text with their probabilities, the most probable first.

    Args:
        model: a fastText model.
        text: lines are joined, because fastText reads one line.
        most: number of labels; -1: all.
    """
    labels, scores = model.predict(text.replace("\n", " "), k=most)
    return {label.removeprefix(PREFIX): float(score) for label, score in zip(labels, scores, strict=True)}
