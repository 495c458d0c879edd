"""The model of datatrove's FastTextClassifierFilter: read from the spec's path, and part of the step's identity.

datatrove copies a model to the home directory once, under a name made from its path, and uses that copy from then on: a
model that is retrained at the same path would never be used. The model's content affects decisions as options do.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file
from mixproof.pipeline.fasttext_layout import check_layout

FASTTEXT = "FastTextClassifierFilter"
_PREFIX = "__label__"


def use_local_model(made: Any, path: str) -> None:  # noqa: ANN401 - datatrove ships no types
    """Load the filter's model, and check that the model has the labels in the options.

    Raises:
        RequestError: no such file, no such label, or labels that are not pairs of a name and a score.
    """
    made._model = _loaded(*_seen(path))
    known = {str(label).removeprefix(_PREFIX) for label in made._model.labels}
    for label, _ in [*(made.keep_labels or ()), *(made.remove_labels or ())]:
        if label not in known:
            shown = ", ".join(sorted(known)[:20])
            raise RequestError(f"{FASTTEXT}: the model {path} has no label {label!r}; it has {shown}")


def model_file(options: Mapping[str, Any]) -> Path | None:
    """The model's file, if the step has a model and the file exists."""
    path = Path(str(options.get("model_url")))
    return path if options.get("class") == FASTTEXT and path.is_file() else None


def model_identity(options: Mapping[str, Any]) -> dict[str, str]:
    """The identity of a step's model by its content; empty for other classes."""
    if options.get("class") != FASTTEXT:
        return {}
    return {"model_sha256": _hashed(*_seen(str(options.get("model_url"))))}


def _seen(path: str) -> tuple[str, int, int, int, int]:
    """Path, bytes, modification time, inode and its change time of a model, which show when it is replaced."""
    if "://" in path:
        raise RequestError(f"{FASTTEXT} would download its model; set model_url to a local path")
    if not Path(path).is_absolute() or not Path(path).is_file():
        raise RequestError(f"model_url: {path!r}: no such file; give an absolute path that every worker can read")
    status = Path(path).stat()
    return path, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


@functools.lru_cache(maxsize=4)
def _loaded(path: str, *version: int) -> Any:  # noqa: ANN401 - fasttext ships no types
    try:
        check_layout(path)
        model = importlib.import_module("fasttext.FastText")._FastText(path)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise RequestError(f"model_url: {path!r}: not a fastText model: {error}") from error
    _check_version(path, version)
    return model


@functools.lru_cache(maxsize=64)
def _hashed(path: str, *version: int) -> str:
    sha256 = sha256_of_file(Path(path))
    _check_version(path, version)
    return sha256


def _check_version(path: str, version: tuple[int, ...]) -> None:
    """Refuse a model that was replaced while it was read: what was read may be neither content."""
    if _seen(path)[1:] != version:
        raise RequestError(f"model_url: {path!r}: changed while it was read; make sure that nothing writes to it")
