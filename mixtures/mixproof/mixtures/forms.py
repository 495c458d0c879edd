"""Expand YAML shorthands into the one form that the models hold.

A single pattern is a list of one, a step's name a step without options, `true` and `false` switch blocks on and off,
and a single cap applies to all sources. Values that are not understood are passed on unchanged; the models then say
what is wrong with them. Mixtures are in `mixture_forms.py`, proxies in `proxy_forms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from .blocks.mixture import DEFAULT_MAX_EPOCHS
from .key_positions import KeyPath, Problem
from .mixture_forms import normalize_fixed, normalize_mixtures
from .proxy_forms import normalize_proxies
from .values.quantities import parse_decimal

SWITCHED = ("fuzzy", "semantic", "paragraphs", "substrings")
"""Keys of `dedup` for which `true` means the defaults."""
MAX_LISTED = 10
"""Seeds that an error lists one by one."""


def normalize(data: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Return the spec's data in the models' form; wrong shorthands are added to `problems`."""
    result = dict(data)
    _change(result, "labels", lambda labels: _labels(labels, ("labels",), problems))
    shared = _names_of(result.get("labels"))
    _change_each(result, "sources", lambda name, source: _source(name, source, shared, problems))
    _change(result, "dedup", _dedup)
    _change(result, "heldout", lambda heldout: heldout or {"create": {}})
    _change(result, "decontaminate", lambda value: {} if value is True else _decontaminate(value))
    _change(result, "external", _external)
    _change(result, "objective", _objective)
    _change(result, "target", _target)
    _change(result, "train", lambda train: _train(train, problems))
    sources, mixtures = result.get("sources"), result.get("mixtures")
    if isinstance(mixtures, dict):
        result["mixtures"] = normalize_mixtures(mixtures, sources if isinstance(sources, dict) else {}, problems)
    search = result.get("search")
    if isinstance(search, dict) and isinstance(search.get("fixed"), dict):
        fixed = normalize_fixed(search["fixed"], sources if isinstance(sources, dict) else {}, problems)
        result["search"] = {**search, "fixed": fixed}
    return result


def _change(data: dict[str, Any], key: str, change: Callable[[Any], Any]) -> None:
    if key in data:
        data[key] = change(data[key])


def _change_each(data: dict[str, Any], key: str, change: Callable[[str, Any], Any]) -> None:
    if isinstance(data.get(key), dict):
        data[key] = {name: change(name, value) for name, value in data[key].items()}


def _with_list(value: Any, key: str) -> Any:  # noqa: ANN401  any YAML value
    """Turn a single string under `key` into a list of one."""
    if isinstance(value, dict) and isinstance(value.get(key), str):
        return {**value, key: [value[key]]}
    return value


def _decontaminate(value: Any) -> Any:  # noqa: ANN401  any YAML value
    value = _with_list(value, "against")
    if isinstance(value, dict) and value.get("questions") is True:
        value = {**value, "questions": {}}
    if not isinstance(value, dict) or not isinstance(value.get("against"), list | dict):
        return value
    entries = value["against"] if isinstance(value["against"], list) else [value["against"]]
    entries = [{"files": entry} if isinstance(entry, str) else entry for entry in entries]
    return {**value, "against": [_with_list(_with_list(entry, "files"), "fields") for entry in entries]}


def _external(external: Any) -> Any:  # noqa: ANN401  any YAML value
    if not isinstance(external, dict):
        return external
    external = dict(external)
    for key in ("sets", "questions"):
        if isinstance(external.get(key), dict):
            listed = {name: [files] if isinstance(files, str) else files for name, files in external[key].items()}
            external[key] = listed
    return external


def _objective(objective: Any) -> Any:  # noqa: ANN401  any YAML value
    objective = _with_list(objective, "force")
    if not isinstance(objective, dict) or not isinstance(objective.get("tasks"), dict):
        return objective
    tasks = {
        name: {} if task is None else task if isinstance(task, dict) else {"weight": task}
        for name, task in objective["tasks"].items()
    }
    return {**objective, "tasks": tasks}


def _source(name: str, source: Any, labels: frozenset[str], problems: list[Problem]) -> Any:  # noqa: ANN401  any YAML value
    source = _with_list(_with_list(source, "files"), "attributes")
    if not isinstance(source, dict):
        return source
    source = dict(source)
    _change(source, "labels", lambda given: _labels(given, ("sources", name, "labels"), problems))
    labels |= _names_of(source.get("labels"))
    _change(source, "split_by", lambda split: _split_by(split, labels))
    _change(source, "keep", _keep)
    if "steps" not in source:
        return source
    path: KeyPath = ("sources", name, "steps")
    if not isinstance(source["steps"], list):
        problems.append(Problem(path, "must be a list, because steps run in order: [length, ...]"))
        return source
    steps = [_step(step, (*path, index), problems) for index, step in enumerate(source["steps"])]
    return {**source, "steps": steps}


def _labels(labels: Any, path: KeyPath, problems: list[Problem]) -> Any:  # noqa: ANN401  any YAML value
    if not isinstance(labels, dict):
        return labels
    return {name: _label(label, (*path, name), problems) for name, label in labels.items()}


def _label(label: Any, path: KeyPath, problems: list[Problem]) -> Any:  # noqa: ANN401  any YAML value
    """`language` is `{language: {}}`, and `{field: topic}` is `{field: {name: topic}}`."""
    if isinstance(label, str):
        return {label: {}}
    if isinstance(label, dict):
        short = {"field": "name", "fasttext": "model"}
        normal = {
            kind: {short[kind]: value} if kind in short and isinstance(value, str) else value
            for kind, value in label.items()
        }
        _change(normal, "classifier", _classifier)
        _change(normal, "step", lambda step: _step(step, (*path, "step"), problems))
        return normal
    return label


def _classifier(classifier: Any) -> Any:  # noqa: ANN401  any YAML value
    for key in ("positive", "negative", "evaluate"):
        classifier = _with_list(classifier, key)
    return classifier


def _names_of(labels: Any) -> frozenset[str]:  # noqa: ANN401  any YAML value
    return frozenset(labels) if isinstance(labels, dict) else frozenset()


def _split_by(split: Any, labels: frozenset[str]) -> Any:  # noqa: ANN401  any YAML value
    """A column stays as it is; a label, a map or a list becomes a list of axes."""
    if isinstance(split, str):
        return [{"label": split}] if split in labels else split
    axes = split if isinstance(split, list) else [split]
    return [{"label": axis} if isinstance(axis, str) else axis for axis in axes]


def _keep(rules: Any) -> Any:  # noqa: ANN401  any YAML value
    """A map is a list of one rule; a value of `is` alone is a list of one; YAML's `true` is the label's `"true"`."""
    return [_keep_rule(rule) for rule in rules] if isinstance(rules, list) else [_keep_rule(rules)]


def _keep_rule(rule: Any) -> Any:  # noqa: ANN401  any YAML value
    if not isinstance(rule, dict) or "is" not in rule:
        return rule
    values = rule["is"] if isinstance(rule["is"], list) else [rule["is"]]
    return {**rule, "is": [str(value).lower() if isinstance(value, bool) else value for value in values]}


def _step(step: Any, path: KeyPath, problems: list[Problem]) -> Any:  # noqa: ANN401  any YAML value
    if isinstance(step, str):
        return {"name": step}
    if isinstance(step, dict) and "datatrove" in step:
        options = {key: value for key, value in step.items() if key != "datatrove"}
        return {"name": "datatrove", "options": _options({"class": step["datatrove"], **options}, path, problems)}
    if isinstance(step, dict) and len(step) == 1:
        [(name, options)] = step.items()
        if options is None or isinstance(options, dict):
            return {"name": name, "options": _options(options or {}, (*path, name), problems)}
    message = "must be a step's name, or one name with a map of options: {length: {min_chars: 200}}"
    problems.append(Problem(path, message))
    return {"name": ""}


def _options(options: dict[str, Any], path: KeyPath, problems: list[Problem]) -> Any:  # noqa: ANN401  any YAML value
    """Turn the decimals in a step's options into exact fractions."""

    def exact(value: Any, at: KeyPath) -> Any:  # noqa: ANN401  any YAML value
        if isinstance(value, dict):
            return {key: exact(item, (*at, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [exact(item, (*at, index)) for index, item in enumerate(value)]
        try:
            return parse_decimal(value) if isinstance(value, Decimal) else value
        except ValueError as error:
            problems.append(Problem(at, str(error)))
            return value

    return exact(options, path)


def _dedup(dedup: Any) -> Any:  # noqa: ANN401  any YAML value
    if isinstance(dedup, bool):
        return {"exact": True} if dedup else None
    if not isinstance(dedup, dict):
        return dedup
    switched: dict[str, Any] = {key: {} if dedup[key] else None for key in SWITCHED if isinstance(dedup.get(key), bool)}
    return {**dedup, **switched}


def _target(target: Any) -> Any:  # noqa: ANN401  any YAML value
    if not isinstance(target, dict):
        return target
    caps = target.get("max_epochs", {})
    if not isinstance(caps, dict):
        caps = {"default": caps}
    return {**target, "max_epochs": {"default": DEFAULT_MAX_EPOCHS, **caps}}


def _train(train: Any, problems: list[Problem]) -> Any:  # noqa: ANN401  any YAML value
    if not isinstance(train, dict):
        return train
    result = dict(train)
    seeds = result.get("seeds")
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        problems.append(Problem(("train", "seeds"), _seeds_message(seeds)))
    if isinstance(result.get("init_from"), (int, float, Decimal)):
        message = "must be text: put a key of digits, or of digits around an e, in quotes"
        problems.append(Problem(("train", "init_from"), message))
        del result["init_from"]
    _change(result, "init_from", lambda given: {"checkpoint": given} if isinstance(given, str) else given)
    _change(result, "proxies", lambda proxies: normalize_proxies(proxies, problems))
    return result


def _seeds_message(seeds: int) -> str:
    one = f"must be a list: `seeds: [{seeds}]` for the seed {seeds}"
    if seeds < 1:
        return one
    each = ", ".join(map(str, range(1, seeds + 1))) if seeds <= MAX_LISTED else f"1, 2, ..., {seeds}"
    return f"{one}, `seeds: [{each}]` for {seeds} seeds"
