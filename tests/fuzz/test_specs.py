"""Random specs: a valid one parses to what it says, and a broken one is refused with file, line and key.

Each spec is drawn as values first. How it is written is drawn after that: order of keys, flow or block style, spellings
of numbers, parts or shares, one file or a child that extends a parent. A valid spec must parse to the drawn values.
Then one thing is broken at one key, and the error must name the file and line of that key and the key itself. A spec
is known by its number alone, so a failure repeats.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import exact_string

TRIES = min(int(os.environ.get("MIXPROOF_FUZZ_TRIES", "40")), 2000)
SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}
Key = tuple[str | int, ...]


@dataclass
class Drawn:
    """A spec as values, and how each of its numbers is written."""

    values: dict[str, Any]
    expected: dict[Key, object] = field(default_factory=dict)
    """What the loaded spec holds, by attribute path."""


class Writer:
    """Writes a map as YAML and remembers the line of each key."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.lines: list[str] = []
        self.line_of: dict[Key, int] = {}

    def write(self, values: dict[str, Any], path: Key = (), indent: int = 0) -> None:
        """Write a map; maps below it are in flow or block style."""
        for key, value in values.items():
            self.line_of[(*path, key)] = len(self.lines) + 1
            if isinstance(value, dict) and value and (indent == 0 or self._draw.random() < 0.4):
                self.lines.append(f"{' ' * indent}{key}:")
                self.write(value, (*path, key), indent + 2)
            else:
                self.lines.append(f"{' ' * indent}{key}: {self._flow(value, (*path, key))}")

    def _flow(self, value: Any, path: Key) -> str:  # noqa: ANN401  a YAML value
        if isinstance(value, dict):
            for key in value:
                self.line_of[(*path, key)] = len(self.lines) + 1
            return "{" + ", ".join(f"{key}: {self._flow(item, (*path, key))}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self._flow(item, (*path, index)) for index, item in enumerate(value)) + "]"
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def draw_spec(draw: random.Random) -> Drawn:
    """Draw a valid spec."""
    names = draw.sample(["web", "code", "books", "wiki", "maths", "forum-1", "a.b", "Q_A"], draw.randint(1, 6))
    drawn = Drawn({"schema": 1, "name": f"spec-{draw.randint(1, 999)}"})
    drawn.values["sources"] = {name: {"files": f'"{name}/*.jsonl"'} for name in names}
    for name in names:
        drawn.expected[("sources", name, "files")] = (f"{name}/*.jsonl",)
    drawn.values["tokenizer"] = {
        "train": {"vocab_size": _whole(draw, drawn, ("tokenizer", "train", "vocab_size"), 2**24)}
    }
    mixtures = drawn.values["mixtures"] = {}
    for mixture in draw.sample(["first", "second", "third"], draw.randint(1, 3)):
        mixtures[mixture] = _draw_mixture(draw, drawn, mixture, names)
    drawn.values["train"] = _draw_train(draw, drawn)
    if draw.random() < 0.5:
        drawn.values["dedup"] = {
            "fuzzy": {
                "ngram": _whole(draw, drawn, ("dedup", "fuzzy", "ngram"), 1000),
                "threshold": _share(draw, drawn, ("dedup", "fuzzy", "threshold")),
            }
        }
    if draw.random() < 0.5:
        tokens = _count(draw, drawn, ("target", "tokens"))
        cap = draw.choice(names)
        drawn.values["target"] = {
            "tokens": tokens,
            "max_epochs": {cap: _number(draw, drawn, ("target", "max_epochs", cap))},
        }
    items = list(drawn.values.items())
    draw.shuffle(items)
    drawn.values = dict(items)
    return drawn


def _draw_mixture(draw: random.Random, drawn: Drawn, mixture: str, names: list[str]) -> dict[str, Any]:
    path: Key = ("mixtures", mixture)
    kind = draw.choice(["shares", "parts", "rule"])
    if kind == "rule":
        source = draw.choice(names)
        drawn.expected[(*path, "rule")] = "proportional"
        return {"rule": "proportional", "times": {source: _number(draw, drawn, (*path, "times", source))}}
    parts = [draw.randint(1, 99) for _ in names]
    shares = {name: Fraction(part, sum(parts)) for name, part in zip(names, parts, strict=True)}
    if kind == "shares":
        cuts = sorted(draw.sample(range(1, 1000), len(names) - 1))
        steps = [high - low for low, high in zip([0, *cuts], [*cuts, 1000], strict=True)]
        shares = {name: Fraction(step, 1000) for name, step in zip(names, steps, strict=True)}
    drawn.expected[(*path, "shares")] = shares
    if kind == "parts":
        return {"parts": dict(zip(names, parts, strict=True))}
    return {name: draw.choice([f"{exact_string(100 * share)}%", exact_string(share)]) for name, share in shares.items()}


def _draw_train(draw: random.Random, drawn: Drawn) -> dict[str, Any]:
    proxies = {}
    for name in draw.sample(["62m", "350m", "mine"], draw.randint(1, 3)):
        at: Key = ("train", "proxies", name)
        lr = draw.randint(1, 999)
        drawn.expected[(*at, "lr")] = Fraction(lr, 10**5)
        drawn.expected[(*at, "min_lr")] = Fraction(lr, 10**6)
        proxies[name] = {
            "tokens": _count(draw, drawn, (*at, "tokens")),
            "global_batch_size": _whole(draw, drawn, (*at, "global_batch_size"), 4096),
            "lr": draw.choice([exact_string(Fraction(lr, 10**5)), f"{lr}e-5", f"{lr}.0E-5"]),
        }
    seeds = draw.sample(range(100), draw.randint(1, 4)) + ([2**63 - 1] if draw.random() < 0.2 else [])
    drawn.expected[("train", "seeds")] = tuple(seeds)
    mask = draw.random() < 0.5
    drawn.expected[("train", "document_mask")] = mask
    return {
        "sequence_length": _whole(draw, drawn, ("train", "sequence_length"), 2**24),
        "document_mask": mask,
        "optimizer": {"weight_decay": _number(draw, drawn, ("train", "optimizer", "weight_decay"))},
        "proxies": proxies,
        "seeds": seeds,
    }


def _whole(draw: random.Random, drawn: Drawn, path: Key, most: int) -> str:
    value = draw.choice([1, most, draw.randint(1, most)])
    drawn.expected[path] = value
    return draw.choice([str(value), f"{value:_}", hex(value)])


def _count(draw: random.Random, drawn: Drawn, path: Key) -> str:
    suffix, factor = draw.choice(list(SUFFIXES.items()))
    whole, tenths = draw.randint(1, 999), draw.randint(0, 9) if factor > 1 else 0
    drawn.expected[path] = whole * factor + tenths * factor // 10
    return f"{whole}.{tenths}{suffix}" if tenths else f"{whole}{suffix}"


def _share(draw: random.Random, drawn: Drawn, path: Key) -> str:
    value = Fraction(draw.randint(0, 1000), 1000)
    drawn.expected[path] = value
    return draw.choice([exact_string(value), f"{exact_string(100 * value)}%", f"{value.numerator}/{value.denominator}"])


def _number(draw: random.Random, drawn: Drawn, path: Key) -> str:
    value = Fraction(draw.randint(1, 9999), draw.choice([1, 10, 1000, 7]))
    drawn.expected[path] = value
    return exact_string(value)


def found_at(spec: object, path: Key) -> object:
    """The value of a loaded spec at an attribute path."""
    for step in path:
        spec = spec[step] if isinstance(spec, dict) else getattr(spec, str(step))
    return spec


def write_spec(folder: Path, values: dict[str, Any], draw: random.Random) -> dict[Key, str]:
    """Write a spec to `folder`, half of them as a child and its parent; return the `file:line` of each key."""
    keys = list(values)
    inherited = draw.sample(keys, draw.randint(1, len(keys) - 1)) if draw.random() < 0.5 else []
    files = {"spec.yaml": {key: values[key] for key in keys if key not in inherited}}
    if inherited:
        files["spec.yaml"] = {"extends": "base.yaml", **files["spec.yaml"]}
        files["base.yaml"] = {key: values[key] for key in inherited}
    positions: dict[Key, str] = {}
    for name, part in files.items():
        writer = Writer(draw)
        writer.write(part)
        (folder / name).write_text("\n".join(writer.lines) + "\n", encoding="utf-8")
        positions |= {path: f"{name}:{line}" for path, line in writer.line_of.items()}
    return positions


@pytest.mark.parametrize("number", range(TRIES))
def test_a_valid_spec_parses_to_what_it_says_however_it_is_written(number: int, tmp_path: Path) -> None:
    draw = random.Random(number)  # noqa: S311  a repeatable draw
    drawn = draw_spec(draw)
    specs: list[Spec] = []
    for _ in range(2):
        write_spec(tmp_path, drawn.values, draw)
        specs.append(load_spec(tmp_path / "spec.yaml").spec)
        for path, expected in drawn.expected.items():
            assert found_at(specs[-1], path) == expected, (path, (tmp_path / "spec.yaml").read_text())
    assert specs[0] == specs[1]


def _leaves(values: dict[str, Any], path: Key = ()) -> list[Key]:
    return [
        found
        for key, value in values.items()
        for found in (_leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)])
    ]


def _maps(values: dict[str, Any], path: Key = ()) -> list[Key]:
    below = [found for key, value in values.items() if isinstance(value, dict) for found in _maps(value, (*path, key))]
    return [path, *below]


def _at(values: dict[str, Any], path: Key) -> dict[str, Any]:
    for step in path:
        values = values[str(step)]
    return values


def _misspell(draw: random.Random, values: dict[str, Any]) -> Key:
    """Misspell a key of a model; names of sources, mixtures and proxies are free."""
    free = {("sources",), ("mixtures",), ("train", "proxies")}
    paths = [
        path for path in _maps(values) if path not in free and path[:1] != ("mixtures",) and "max_epochs" not in path
    ]
    parent = draw.choice(paths)
    key = draw.choice(list(_at(values, parent)))
    renamed = f"{key}{draw.choice('xyz')}"
    _at(values, parent)[renamed] = _at(values, parent).pop(key)
    return (*parent, renamed)


def _unknown_null(draw: random.Random, values: dict[str, Any]) -> Key:
    parent = draw.choice(_maps(values))
    name = "evaluate_evry"
    _at(values, parent)[name] = draw.choice(["", "null", "~"])
    return (*parent, name)


def _no_value(draw: random.Random, values: dict[str, Any]) -> Key:
    path = draw.choice(_leaves(values))
    _at(values, path[:-1])[str(path[-1])] = ""
    return path


def _nonsense(draw: random.Random, values: dict[str, Any]) -> Key:
    text = {"name", "files", "rule"}
    path = draw.choice([path for path in _leaves(values) if path[-1] not in text])
    _at(values, path[:-1])[str(path[-1])] = draw.choice(
        ["abc", "-5", "[[1]]", "1%%", '"1,5"', "!!python/x 1", "1e99", "0x", "yes", str(10**32)]
    )
    return path


def _comma(draw: random.Random, values: dict[str, Any]) -> Key:
    path = draw.choice(
        [path for path in _leaves(values) if len(path) > 1 and path[-1] not in ("files", "rule", "seeds")]
    )
    holder = _at(values, path[:-1])
    holder[str(path[-1])] = draw.choice(["1,024", "0,5", "1,5B", "33,3%"])
    return path


def _twice(draw: random.Random, values: dict[str, Any]) -> Key:
    path = draw.choice([path for path in _leaves(values) if len(path) > 1])  # top keys may be in different files
    holder = _at(values, path[:-1])
    holder[f"{path[-1]} "] = holder[str(path[-1])]  # YAML ignores the space
    return (*path[:-1], f"{path[-1]} ")


BREAK: dict[str, Callable[[random.Random, dict[str, Any]], Key]] = {
    "a misspelled key": _misspell,
    "an unknown key that is null": _unknown_null,
    "a key without a value": _no_value,
    "nonsense": _nonsense,
    "a decimal comma": _comma,
    "a key that is given twice": _twice,
}


@pytest.mark.parametrize("number", range(TRIES))
@pytest.mark.parametrize("kind", BREAK)
def test_a_broken_spec_is_refused_with_file_line_and_key(kind: str, number: int, tmp_path: Path) -> None:
    draw = random.Random(f"{kind} {number}")  # noqa: S311  a repeatable draw
    values = draw_spec(draw).values
    broken = BREAK[kind](draw, values)
    positions = write_spec(tmp_path, values, draw)
    written = "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.yaml")))
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "spec.yaml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{tmp_path}/") for line in lines), (lines, written)
    expected = positions.get(broken) or positions[broken[:-1]]
    parent = positions.get(broken[:-1], "spec.yaml:1")
    named = [line for line in lines if f"/{expected}: " in line or f"/{parent}: " in line]
    assert any(str(broken[-1]).strip() in line for line in named), (broken, expected, lines, written)
