"""Check that tasks of lm-evaluation-harness use nothing outside their folder, before the harness reads them.

The content of the task folder identifies a result. Whatever a task takes from elsewhere could change without a new
result: an included file, a Python function, data, a prompt, a metric from a hub. Such tasks are refused. Only the named
tasks are checked, and what they reach through groups and tags, so that a folder may hold other tasks as well.

The file format is that of `lm_eval.tasks` 0.4: YAML with `include` and `!function module.name`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixproof.ledger.errors import RequestError

DATA_FORMATS = ("json", "parquet", "csv", "text", "arrow")
"""What `dataset_path` may be."""
OUTPUT_TYPES = ("multiple_choice", "loglikelihood", "loglikelihood_rolling")
"""What `output_type` may be."""
DATA_OPTIONS = ("data_files", "data_dir")
"""Options of `dataset_kwargs` that name data."""
READING_OPTIONS = frozenset(
    (
        *("block_size", "chunksize", "column_names", "columns", "delimiter", "encoding", "encoding_errors"),
        *(
            "escapechar",
            "field",
            "header",
            "keep_default_na",
            "keep_in_memory",
            "keep_linebreaks",
            "na_values",
            "names",
        ),
        *("newlines_in_values", "nrows", "quotechar", "quoting", "sample_by", "sep", "skip_blank_lines", "skiprows"),
    )
)
"""Options of `dataset_kwargs` that only say how local files are read; others could take data from elsewhere."""

OUTSIDE = "include outside"
"""Key under which `_read` notes an include that it did not follow; no key of a task has a space."""


@dataclass(frozen=True)
class _Function:
    """A `!function` tag."""

    name: str
    folder: Path
    """Folder of the YAML file, from which the harness looks for the module."""


def check_task_files(folder: Path, names: Sequence[str]) -> None:
    """Check the named tasks in a folder, and everything they refer to.

    Args:
        folder: absolute, without symbolic links.
        names: of tasks, groups or tags.

    Raises:
        RequestError: naming the file, what it takes from elsewhere, and what to do instead.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and path.is_dir():
            raise RequestError(f"{path}: is a link to a folder, whose files are not hashed; copy the folder instead")
    configs = {path: config for path in sorted(folder.rglob("*.yaml")) if (config := _read(path, folder)) is not None}
    defined = {name for config in configs.values() for name in _defined(config)}
    for name in names:
        if name not in defined:
            found = ", ".join(sorted(defined)) or "none"
            raise RequestError(f"{folder}: no task {name}; tasks defined there: {found}")
    for path in _reachable(configs, names):
        for problem in _problems(configs[path], folder):
            raise RequestError(f"{path}: {problem}")


def strings(value: object) -> Iterator[str]:
    """All strings in nested lists and maps."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from strings(item)


def outside(folder: Path, location: str) -> bool:
    """Whether a location in a task file is a URL, or a path outside the folder."""
    if "::" in location or "://" in location:
        return True
    return not (folder / Path(location).expanduser()).resolve().is_relative_to(folder)


def _read(path: Path, folder: Path, including: tuple[Path, ...] = ()) -> dict[str, Any] | None:
    """A task file merged with its includes; None where the harness would skip it."""
    import yaml  # a dependency of the harness

    class Loader(yaml.SafeLoader):  # type: ignore[misc,name-defined,unused-ignore]  # PyYAML ships no types
        pass

    def function(loader: Any, node: Any) -> _Function:  # noqa: ANN401
        return _Function(loader.construct_scalar(node), path.parent)

    Loader.add_constructor("!function", function)
    try:
        config = yaml.load(path.read_bytes(), Loader)  # noqa: S506  a safe loader with one more tag
    except yaml.YAMLError:
        return None
    if not isinstance(config, dict) or path in including:
        return None
    included = config.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        target = (path.parent / Path(str(name)).expanduser()).resolve()
        if "://" in str(name) or not target.is_relative_to(folder):
            merged[OUTSIDE] = f"include {name} is outside the task folder {folder}; copy the file into it"
            continue
        parent = _read(target, folder, (*including, path)) if target.is_file() else None
        merged |= {key: value for key, value in (parent or {}).items() if key != "task_list"}
    return merged | config


def _reachable(configs: Mapping[Path, Mapping[str, Any]], names: Sequence[str]) -> list[Path]:
    """Files that define the named tasks, directly or through groups and tags."""
    wanted, found = set(names), dict[Path, None]()
    while True:
        new = [path for path, config in configs.items() if path not in found and wanted & set(_defined(config))]
        if not new:
            return list(found)
        found |= dict.fromkeys(new)
        for path in new:
            wanted |= {member for member in strings(configs[path].get("task")) if member}


def _defined(config: Mapping[str, Any]) -> Iterator[str]:
    """Names under which a file's task or group can be loaded."""
    yield from strings([config.get("group"), config.get("tag")])
    if isinstance(config.get("task"), str):
        yield config["task"]


def _problems(config: Mapping[str, Any], folder: Path) -> Iterator[str]:
    if OUTSIDE in config:
        yield str(config[OUTSIDE])
    for task in _tasks(config):
        yield from _data_problems(task, folder)
        if task.get("output_type", OUTPUT_TYPES[0]) not in OUTPUT_TYPES:
            yield f"output_type {task['output_type']} is not supported; use one of {', '.join(OUTPUT_TYPES)}"
        if "class" in task:
            yield "tasks that are a Python class (`class`) are not supported; declare the task in YAML"
        prompt = str(task.get("use_prompt") or "")
        if prompt.startswith("promptsource:") or ".yaml" in prompt:
            yield f"use_prompt {prompt} takes its prompt from elsewhere; write it into doc_to_text and doc_to_target"
        metrics = task.get("metric_list")
        for metric in metrics if isinstance(metrics, list) else []:
            if isinstance(metric, Mapping) and metric.get("hf_evaluate"):
                yield f"metric {metric.get('metric')} is downloaded (hf_evaluate); use a metric of the harness"
    for function in _functions(config):
        module = function.name.rpartition(".")[0]
        path = (function.folder / f"{module.replace('.', '/')}.py").resolve()
        if not module or not path.is_file() or not path.is_relative_to(folder):
            yield (
                f"!function {function.name} is not in a Python file of the task folder; copy its module beside the "
                "file that names it"
            )
        else:
            for named in _files_named(path, folder):
                yield f"{path.name} names {named}, a file outside the task folder {folder}; move it into the folder"


def _files_named(module: Path, folder: Path) -> Iterator[str]:
    """Existing files outside the folder that a module names by an absolute path, or by one from `~` or `..`.

    Paths that the module puts together are not seen.
    """
    try:
        tree = ast.parse(module.read_bytes())
    except (SyntaxError, ValueError):
        return  # the harness reports it
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and text.startswith(("/", "~", "../")):
            with suppress(OSError, RuntimeError, ValueError):  # not a path after all
                path = (module.parent / Path(text).expanduser()).resolve()
                if path.is_file() and not path.is_relative_to(folder):
                    yield text


def _data_problems(task: Mapping[str, Any], folder: Path) -> Iterator[str]:
    path, options = task.get("dataset_path"), task.get("dataset_kwargs")
    if "custom_dataset" in task:
        yield "custom_dataset is not supported; name the data in dataset_kwargs.data_files"
    if path is not None and path not in DATA_FORMATS:
        yield (
            f"dataset_path {path!r} is not a local format; use one of {', '.join(DATA_FORMATS)} and list the files in "
            "dataset_kwargs.data_files"
        )
    if not isinstance(options, Mapping):
        return
    for name in sorted(map(str, options.keys() - {*DATA_OPTIONS, *READING_OPTIONS})):
        yield f"dataset_kwargs.{name} is not supported; move the data into the folder and name them in data_files"
    for name in DATA_OPTIONS:
        for location in strings(options.get(name)):
            if outside(folder, location):
                yield f"{name} {location} is outside the task folder {folder}; move the data into it"


def _tasks(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A task or group, and the tasks that are defined inside it."""
    yield config
    members = config.get("task")
    for member in members if isinstance(members, list) else []:
        if isinstance(member, Mapping):
            yield from _tasks(member)


def _functions(value: object) -> Iterator[_Function]:
    if isinstance(value, _Function):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _functions(item)
    elif isinstance(value, list):
        for item in value:
            yield from _functions(item)
