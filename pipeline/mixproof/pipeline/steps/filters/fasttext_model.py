"""The model of datatrove's FastTextClassifierFilter: read where the spec says it is, and part of the step's identity.

datatrove copies a model to the home directory once, under a name made of its path, and takes that copy ever after: one
trained anew at the same path would never be asked. Its bytes decide about documents as the options do.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import sha256_of_file

FASTTEXT = "FastTextClassifierFilter"
_PREFIX = "__label__"


def use_local_model(made: Any, path: str) -> None:  # noqa: ANN401 - datatrove ships no types
    """Give the filter its model, and check that the model has the labels that it asks for.

    Raises:
        RequestError: no such file, no such label, or labels that are not pairs of a name and a score.
    """
    made._model = _loaded(*_seen(path))
    known = {str(label).removeprefix(_PREFIX) for label in made._model.labels}
    for label, _ in [*(made.keep_labels or ()), *(made.remove_labels or ())]:
        if label not in known:
            shown = ", ".join(sorted(known)[:20])
            raise RequestError(f"{FASTTEXT}: the model {path} has no label {label!r}; it has {shown}")


def model_identity(options: Mapping[str, Any]) -> dict[str, str]:
    """Who the model of a step is, by its content; empty for other classes."""
    if options.get("class") != FASTTEXT:
        return {}
    return {"model_sha256": _hashed(*_seen(str(options.get("model_url"))))}


def _seen(path: str) -> tuple[str, int, int]:
    """Path, bytes and time of a model: another one at the same place is another one."""
    if "://" in path:
        raise RequestError(f"{FASTTEXT} would download its model; give a local path as model_url")
    if not Path(path).is_absolute() or not Path(path).is_file():
        raise RequestError(f"model_url: {path!r}: no such file; give an absolute path that every worker can read")
    status = Path(path).stat()
    return path, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _loaded(path: str, _size: int, _mtime_ns: int) -> Any:  # noqa: ANN401 - fasttext ships no types
    try:
        return importlib.import_module("fasttext.FastText")._FastText(path)
    except ValueError as error:
        raise RequestError(f"model_url: {path!r}: no model of fastText: {error}") from error


@functools.lru_cache(maxsize=64)
def _hashed(path: str, _size: int, _mtime_ns: int) -> str:
    return sha256_of_file(Path(path))
