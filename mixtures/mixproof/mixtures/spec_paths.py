"""The paths in a spec: which keys hold them, and how they are kept valid from another folder.

A relative path in a parent file is relative to that file's folder, so it is rewritten relative to the child's. `~`,
`$VAR` and `${VAR}` are expanded when a file is read. A variable that is not set is left as it is, because `$` may be in
the name of a file; `unset_variables` names it where no such file exists. In a chain such as
`zip://inside/*.jsonl::d.zip` only the last link is a path of this machine; the others are paths inside an archive.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .key_positions import KeyPath
from .values.chat_templates import is_inline_template

PATTERN_KEYS = (
    ("sources", "*", "files"),
    ("sources", "*", "megatron"),
    ("decontaminate", "against"),
    ("decontaminate", "against", "*", "files"),
    ("external", "sets", "*"),
    ("external", "questions", "*"),
    *((*labels, "*", "classifier", "evaluate") for labels in (("labels",), ("sources", "*", "labels"))),
)
"""Keys that hold paths with glob characters; `*` stands for every name or list item."""
FILE_KEYS = (
    ("sources", "*", "template", "jinja"),
    ("heldout", "from"),
    ("tokenizer", "sentencepiece"),
    ("tokenizer", "huggingface"),
    ("tokenizer", "tiktoken"),
    ("train", "init_from"),
    ("train", "init_from", "checkpoint"),
    ("external", "tasks", "folder"),
    *(
        (*labels, "*", *key)
        for labels in (("labels",), ("sources", "*", "labels"))
        for key in (
            ("fasttext",),
            ("fasttext", "model"),
            *((kind, name) for kind in ("clusters", "classifier") for name in ("from", "embedding")),
        )
    ),
    *(("sources", "*", "split_by", *item, "clusters", key) for item in ((), ("*",)) for key in ("from", "embedding")),
)
"""Keys that hold the path of one file or folder."""
EXAMPLE_KEYS = tuple(
    (*labels, "*", "classifier", side)
    for labels in (("labels",), ("sources", "*", "labels"))
    for side in ("positive", "negative")
)
"""Keys that hold names of sources or paths with glob characters; a path has one of them, or an ending of EXAMPLES."""
EXAMPLES = re.compile(r"[*?\[]|\.(jsonl?|parquet|arrow|txt|md|gz|zst|bz2|xz)$")
CACHES = ("simplecache", "filecache", "blockcache")
"""fsspec file systems that are written without `://` at the start of a chain."""
LOCAL = "file://"
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
Change = Callable[[str, KeyPath], str]


def unset_variables(text: str) -> str:
    """Say which variables in a path are not set; empty if there are none. To be added to the error about the path."""
    names = [bare or braced for bare, braced in _VARIABLE.findall(text)]
    unset = [f"${name}" for name in names if name not in os.environ]
    return f"; the environment has no {' and no '.join(unset)}" if unset else ""


def with_home(data: Any) -> Any:  # noqa: ANN401  a YAML value
    """Expand environment variables, and a leading `~`, in every path of a spec's data.

    Raises:
        HomeError: when a path names a user without a home folder.
    """
    for keys in (*PATTERN_KEYS, *FILE_KEYS, *EXAMPLE_KEYS):
        data = _change(data, keys, (), _expand)
    return data


def moved(data: Any, folder: Path) -> Any:  # noqa: ANN401  a YAML value
    """Rewrite every relative path of a spec's data so that it starts at the folder from which `folder` is reached."""
    for keys in PATTERN_KEYS:
        data = _change(data, keys, (), lambda text, _: _move(text, folder, is_pattern=True))
    for keys in FILE_KEYS:
        data = _change(data, keys, (), lambda text, _: _move(text, folder, is_pattern=False))
    for keys in EXAMPLE_KEYS:
        data = _change(data, keys, (), lambda text, _: _move_example(text, folder))
    return data


class HomeError(ValueError):
    """A path begins with `~`, and there is no such home folder."""

    def __init__(self, path: KeyPath, text: str) -> None:
        super().__init__(f"{text!r}: no such home folder; write ./{text} for a file of that name")
        self.path = path


def _expand(text: str, path: KeyPath) -> str:
    if is_inline_template(text):
        return text
    text = _VARIABLE.sub(lambda found: os.environ.get(found[1] or found[2], found[0]), text)
    start, local = _last_link(text)
    if not local.startswith("~"):
        return text
    try:
        return start + str(Path(local).expanduser())
    except RuntimeError:
        raise HomeError(path, local) from None


def _move(text: str, folder: Path, *, is_pattern: bool) -> str:
    start, local = _last_link(text)
    if not local or "://" in local or local.startswith("/") or is_inline_template(text):
        return text
    if is_pattern and glob.has_magic(local):
        return start + (Path(glob.escape(str(folder))) / local).as_posix()
    return start + (folder / local).as_posix()


def _move_example(text: str, folder: Path) -> str:
    return _move(text, folder, is_pattern=True) if EXAMPLES.search(text) else text


def _last_link(text: str) -> tuple[str, str]:
    """Split a path into what precedes its last link, and that link without `file://`."""
    head, chained, last = text.rpartition("::")
    if chained and "://" not in head and head not in CACHES:  # a file name with two colons, not a chain
        head, chained, last = "", "", text
    local = last.removeprefix(LOCAL)
    return head + chained + last[: len(last) - len(local)], local


def _change(data: Any, keys: tuple[str, ...], path: KeyPath, change: Change) -> Any:  # noqa: ANN401  a YAML value
    if not keys:
        if isinstance(data, list):
            return [_change(item, (), (*path, index), change) for index, item in enumerate(data)]
        return change(data, path) if isinstance(data, str) else data
    if keys[0] == "*" and isinstance(data, list):
        return [_change(item, keys[1:], (*path, index), change) for index, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    chosen = data if keys[0] == "*" else {keys[0]} & data.keys()
    return {
        key: _change(value, keys[1:], (*path, key), change) if key in chosen else value for key, value in data.items()
    }
