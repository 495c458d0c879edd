"""Diff: what differs between two specs, two builds or two runs, and what would rerun for B once A is done.

Both sides are flattened to dotted keys. What would rerun follows from the differing keys and the order of the stages
(`DOWNSTREAM`). It is an upper bound: stages are addressed by content, so a stage that reruns still reuses every shard
that did not change. Specs are compared by file patterns, not by the files they match; builds are compared by file
content. Two runs are the same run if and only if their keys are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from mixproof.ledger.errors import RequestError
from mixproof.ledger.manifest import BUILDS, CIRCUMSTANCES, MANIFEST, Manifest, read_manifest
from mixproof.mixtures.load import load_spec
from mixproof.mixtures.spec import Spec
from mixproof.train.record import IDENTITY, RUN, read_run

Kind = Literal["spec", "build", "run"]
SPEC_SUFFIXES = (".yaml", ".yml")
DOWNSTREAM = {
    "sources": ("read", "dedup", "tokenizer", "heldout", "decontaminate", "encode"),
    "dedup": ("dedup", "tokenizer", "heldout", "decontaminate", "encode"),
    "tokenizer": ("tokenizer", "heldout", "encode"),
    "heldout": ("tokenizer", "heldout", "decontaminate", "encode"),
    "decontaminate": ("tokenizer", "decontaminate", "encode"),
    "on_bad_record": (),
    "limits": ("read", "dedup", "tokenizer", "heldout", "decontaminate", "encode"),
}
"""Stages that a change in each part of the spec affects; each change gives a new build id."""
EXECUTION = (".micro_batch_size", ".recompute", ".ranks", ".cpus", ".gpus", ".checkpoint_keep")
"""Keys of a proxy or of `train` that do not affect results."""
NEW_DRAWS = (
    "a new or changed mixture or proxy may need more tokens of a source than its draw holds; "
    "the source is then drawn again, and every run that reads it is retrained"
)


@dataclass(frozen=True)
class Difference:
    """A dotted key whose values differ; where one side lacks the key, its value is None and `only` names the other."""

    key: str
    a: Any
    b: Any
    only: Literal["a", "b"] | None = None


@dataclass(frozen=True)
class Rerun:
    """Work that B needs although A is done."""

    what: str
    because: tuple[str, ...]
    """The differing keys that cause it."""


@dataclass(frozen=True)
class Diff:
    """The outcome."""

    kind: Kind
    a: str
    b: str
    differences: tuple[Difference, ...]
    reruns: tuple[Rerun, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The form that `mixproof diff --json` prints."""
        return {"same": not self.differences, **asdict(self)}


def diff(a: Path, b: Path) -> Diff:
    """Compare two specs, two builds or two runs.

    Args:
        a: a spec, a manifest or a run's record, or the folder of a build or run; assumed to be done.
        b: another one of the same kind.

    Raises:
        RequestError, SpecError: when one of them cannot be read, or their kinds differ.
    """
    (kind, path_a), (kind_b, path_b) = _kind_of(a), _kind_of(b)
    if kind != kind_b:
        raise RequestError(f"{a} is a {kind} and {b} is a {kind_b}; diff compares two of the same kind")
    if kind == "spec":
        return _diff_specs(path_a, path_b)
    return _diff_builds(path_a, path_b) if kind == "build" else _diff_runs(path_a, path_b)


def differences_of(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    """List the dotted keys whose values differ, sorted.

    A list of scalars is one value. A list of maps is flattened by index, `steps.0.name`; where it is empty on one
    side, only the keys of its items are listed.
    """
    flat_a, flat_b = dict(_flatten(a)), dict(_flatten(b))
    parents = {key[:end] for key in (*flat_a, *flat_b) for end, letter in enumerate(key) if letter == "."}
    empty = {key for key in parents if not (flat_a.get(key) or flat_b.get(key))}
    found = []
    for key in sorted({*flat_a, *flat_b} - empty):
        if key not in flat_a:
            found.append(Difference(key, None, flat_b[key], "b"))
        elif key not in flat_b:
            found.append(Difference(key, flat_a[key], None, "a"))
        elif flat_a[key] != flat_b[key]:
            found.append(Difference(key, flat_a[key], flat_b[key]))
    return tuple(found)


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  JSON
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        value = {str(index): item for index, item in enumerate(value)}
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flatten(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, list(value) if isinstance(value, tuple) else value


def _kind_of(path: Path) -> tuple[Kind, Path]:
    if path.is_dir():
        found = [path / name for name in (MANIFEST, RUN) if (path / name).is_file()]
        if not found:
            raise RequestError(f"{path}: contains neither a build's {MANIFEST} nor a run's {RUN}")
        path = found[0]
    if path.suffix in SPEC_SUFFIXES:
        return "spec", path
    if not path.is_file():
        raise RequestError(f"{path}: no such spec, manifest or run record")
    return ("run" if path.name == RUN else "build"), path


def _diff_specs(path_a: Path, path_b: Path) -> Diff:
    a, b = load_spec(path_a).spec, load_spec(path_b).spec
    found = differences_of(_plain(a), _plain(b))
    keys = [difference.key for difference in found]
    build, builds = _reruns_of_build(keys, _plain(b))
    runs = _runs_again(a, b, keys, build)
    notes = []
    if path_a.resolve().parent != path_b.resolve().parent:
        notes.append("the specs are in different folders, so equal relative patterns may match different files")
    if runs and not build:
        notes.append(NEW_DRAWS)
    if any(key.startswith("objective") for key in keys):
        builds = (*builds, Rerun("compare", tuple(key for key in keys if key.startswith("objective"))))
    return Diff("spec", str(path_a), str(path_b), found, (*builds, *runs), tuple(notes))


def _plain(spec: Spec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


def _reruns_of_build(keys: Sequence[str], spec: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Rerun, ...]]:
    """Keys that change the build, and the stages of `spec` that they affect, in pipeline order."""
    off = {stage for stage in ("dedup", "decontaminate") if not spec.get(stage)}
    trains_tokenizer = (spec.get("tokenizer") or {}).get("train") is not None
    causes: dict[str, list[str]] = {}
    changed = tuple(key for key in keys if key.split(".")[0] in DOWNSTREAM)
    for key in changed:
        part = key.split(".")[0]
        for stage in DOWNSTREAM[part]:
            if stage not in off and (stage != "tokenizer" or trains_tokenizer or part == "tokenizer"):
                causes.setdefault(_stage_name(stage, key), []).append(key)
    order = {stage: index for index, stage in enumerate(DOWNSTREAM["sources"])}
    stages = sorted(causes.items(), key=lambda item: (order[item[0].split()[0]], item[0]))
    return changed, tuple(Rerun(what, tuple(because)) for what, because in stages)


def _stage_name(stage: str, key: str) -> str:
    return f"read {key.split('.')[1]}" if stage == "read" and "." in key else stage


def _runs_again(a: Spec, b: Spec, keys: Sequence[str], build: Sequence[str]) -> tuple[Rerun, ...]:
    """Every run of B that is not also a run of A."""
    simulated = any(spec.target is not None and spec.target.simulate for spec in (a, b))
    for_all_runs = [*build, *(key for key in keys if simulated and key.startswith("target"))]
    for_all_runs += [key for key in keys if key.startswith("train.") and key.split(".")[1] not in ("proxies", "seeds")]
    reruns = []
    for mixture, proxy, seed in product(b.mixtures, b.train.proxies, b.train.seeds):
        because = list(for_all_runs)
        because += [key for key in keys if key.startswith((f"mixtures.{mixture}.", f"train.proxies.{proxy}."))]
        because = [key for key in because if not key.endswith(EXECUTION)]
        if seed not in a.train.seeds:
            because.append("train.seeds")
        if because:
            reruns.append(Rerun(f"run {mixture} × {proxy} × seed {seed}", tuple(dict.fromkeys(because))))
    return tuple(reruns)


def _diff_builds(path_a: Path, path_b: Path) -> Diff:
    a, b = read_manifest(path_a), read_manifest(path_b)
    found = differences_of(_statement(a), _statement(b))
    of_spec = differences_of(a.spec, b.spec)
    _, reruns = _reruns_of_build([difference.key for difference in of_spec], b.spec)
    notes: tuple[str, ...] = ()
    if a.build != b.build:
        because = tuple(difference.key for difference in of_spec) or ("mixproof",)
        reruns = (*reruns, Rerun("every run on it", because))
        notes = _notes_of_versions(_stage_versions(path_a), _stage_versions(path_b))
    return Diff("build", str(path_a), str(path_b), found, reruns, notes)


def _stage_versions(manifest_path: Path) -> dict[str, int] | None:
    """The stage versions in the circumstances of a build.

    Empty if the build is older than this record; None if there are no readable circumstances, so nothing is known.
    """
    try:
        circumstances: dict[str, Any] = json.loads((manifest_path.parent / CIRCUMSTANCES).read_bytes())
    except (OSError, ValueError):
        return None
    versions: dict[str, int] = circumstances.get("stage_versions", {})
    return versions


def _notes_of_versions(a: Mapping[str, int] | None, b: Mapping[str, int] | None) -> tuple[str, ...]:
    """One sentence if two builds were made by different versions of the stages."""
    if a is None or b is None or (a == b and a):
        return ()
    if not a and not b:
        return (
            "both builds were made by versions of mixproof that did not record the versions of their stages; if these "
            "versions differ, ids, keys and checksums (`inputs` too) can differ where the content is the same",
        )
    effect = "so ids, keys and checksums (`inputs` too) can differ where the content is the same"
    if not a or not b:
        older, newer = ("A", "B") if not a else ("B", "A")
        return (
            f"{older} was made by an older version of mixproof, which did not record the versions of its stages as "
            f"{newer} does, {effect}",
        )
    stages = sorted({*a, *b})
    changed = [
        f"{name} {a.get(name, 'none')} and {b.get(name, 'none')}" for name in stages if a.get(name) != b.get(name)
    ]
    return (f"A and B were made by different versions of mixproof's stages ({', '.join(changed)}), {effect}",)


def _statement(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", by_alias=True)


def _diff_runs(path_a: Path, path_b: Path) -> Diff:
    a, b = read_run(path_a), read_run(path_b)
    data = [run.model_dump(mode="json", by_alias=True) for run in (a, b)]
    found = differences_of(*data)
    notes = []
    if a.build != b.build:
        manifests = [
            path.resolve().parents[2] / BUILDS / run.build / MANIFEST
            for path, run in zip((path_a, path_b), (a, b), strict=True)
        ]
        notes.append(
            f"the runs read different builds; compare these with `mixproof diff {manifests[0]} {manifests[1]}`"
        )
    if a.key == b.key:
        return Diff("run", str(path_a), str(path_b), found, (), ("both are the same run",))
    of_identity = differences_of(_identity(path_a), _identity(path_b))
    because = tuple(difference.key.partition(".")[2] for difference in of_identity) or ("key",)
    reruns = [
        Rerun(f"draw {source}", (f"draws.{source}",)) for source in b.draws if b.draws[source] != a.draws.get(source)
    ]
    return Diff("run", str(path_a), str(path_b), found, (*reruns, Rerun("the run", because)), tuple(notes))


def _identity(path: Path) -> dict[str, Any]:
    """The declaration that the run's key hashes; empty for runs made before `identity.json` existed."""
    if not (path.parent / IDENTITY).is_file():
        return {}
    try:
        identity: dict[str, Any] = json.loads((path.parent / IDENTITY).read_bytes())
    except (OSError, ValueError) as error:
        raise RequestError(f"{path.parent / IDENTITY}: {error}; run `mixproof audit {path.parent}`") from None
    return identity
