"""Adam's moments in Megatron-LM's checkpoints, brought to the weights that they belong to.

One file (`model_optim_rng.pt`) numbers them, by what its optimizer was:

    FP32Optimizer                        {"state": {0: {"exp_avg", "exp_avg_sq"[, "step"]}, ...},
                                          "param_groups": [{"params": [0, ...][, "step"]}, ...]}
    Float16OptimizerWithFloat16Params    {"optimizer": as above, "fp32_from_fp16_params": [[weight, ...] a group]}
    ChainedOptimizer                     a list of these

A number stands for a weight of its group, in the model's order, but which weights a group holds is nowhere written:
Megatron-LM parts matrices from vectors, which do not decay, and dense weights from experts. So every way to put these
four kinds into the groups is held against the shapes of the moments, and one way only may fit. Weights in float32
prove it: rounded to the model's arithmetic they are the model's, bit for bit. They are what training goes on with.

A torch_dist checkpoint names them: `optimizer.state.{exp_avg, exp_avg_sq, fp32_param}.<weight>`; the count of steps
is in its `common.pt`. The flat buffers of a distributed optimizer (`distrib_optim.pt`, `dp_reshardable`) are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.train_spec import Architecture
from mixproof.train.model.weight_names import Weights, check_shape, is_weight, rename

from .safe_loading import load_tensors

FIRST, SECOND, MAIN = "exp_avg", "exp_avg_sq", "fp32_param"
_IN_FOLDER = re.compile(r"^(?:chained_\d+\.)?optimizer\.state\.(exp_avg|exp_avg_sq|fp32_param|param)\.(.+)$")
WAY_OUT = "leave `optimizer` out of `init_from` to start from the weights alone"


@dataclass(frozen=True)
class Moments:
    """What Adam keeps between two steps; each by the names of weights."""

    steps: int
    """That the optimizer has taken: its bias corrections go on from there."""
    first: Weights
    """Running means of gradients."""
    second: Weights
    """Running means of their squares."""
    main: Weights = field(default_factory=dict)
    """Weights in float32, where the model's own are rounded; else empty."""

    def state_of(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """State of torch's Adam for one weight, on the weight's device."""
        moments = {FIRST: self.first[name], SECOND: self.second[name]}
        copies = {kind: torch.empty_like(weight).copy_(moment) for kind, moment in moments.items()}
        return {"step": torch.tensor(float(self.steps), device=weight.device), **copies}

    def checked(self, architecture: Architecture, vocab_size: int, where: str) -> Moments:
        """The same by this trainer's names, in the shapes of a proxy.

        Raises:
            RequestError: naming what is missing or of another shape.
        """
        parts = []
        for kind, tensors in ((FIRST, self.first), (SECOND, self.second), (MAIN, self.main)):
            at = f"{where}, {kind}"
            named = rename(tensors, at)
            if tensors or kind != MAIN:
                check_shape(named, architecture, vocab_size, at)
            parts.append(named)
        return Moments(self.steps, *parts)


def moments_of_file(content: Mapping[str, Any], model: Mapping[str, Tensor], where: str) -> Moments:
    """Adam's state of one file, by the model's names in that file.

    Args:
        content: of the file.
        model: its weights, in order.
        where: for errors.

    Raises:
        RequestError: when there is none, it is of another optimizer, or it does not fit the weights.
    """
    saved = content.get("optimizer")
    if not saved:
        raise RequestError(f"{where}: no optimizer state in it; {WAY_OUT}")
    groups = [group for optimizer in _optimizers(saved, where) for group in _groups(optimizer, where)]
    weights = {name: weight for name, weight in model.items() if is_weight(name)}
    moments = Moments(_steps(saved, where), {}, {})
    for group, names in zip(groups, _assign(groups, weights, where), strict=True):
        for name, moment in zip(names, group.moments, strict=True):
            if moment:
                moments.first[name], moments.second[name] = moment[FIRST], moment[SECOND]
        if any(each.main for each in groups):
            moments.main.update(_main_weights(group, {name: weights[name] for name in names}, where))
    return moments


def moments_of_folder(folder: Path, common: Mapping[str, Any]) -> Moments:
    """Adam's state of a torch_dist checkpoint, by its own names.

    Args:
        folder: of the checkpoint.
        common: what its `common.pt` holds.

    Raises:
        RequestError: when there is none by the names of weights.
        DamagedFileError: when a file is truncated.
    """
    parts: dict[str, Weights] = {FIRST: {}, SECOND: {}, MAIN: {}}
    for name, tensor in load_tensors(folder, lambda name: _IN_FOLDER.match(name) is not None).items():
        found = _IN_FOLDER.match(name)
        assert found is not None, "no other names were asked for"
        parts[MAIN if found[1] == "param" else found[1]][found[2]] = tensor
    if not parts[FIRST] or not parts[SECOND]:
        raise RequestError(
            f"{folder}: no Adam moments by the names of weights (`optimizer.state.{FIRST}.*`); a distributed optimizer "
            f"leaves them with --dist-ckpt-optim-fully-reshardable; {WAY_OUT}"
        )
    return Moments(_steps(common.get("optimizer"), str(folder)), parts[FIRST], parts[SECOND], parts[MAIN])


@dataclass(frozen=True)
class _Group:
    moments: Sequence[Mapping[str, Tensor]]
    """Of each weight in the model's order; empty where the optimizer has never touched it."""
    main: Sequence[Tensor]
    """Of those that the model has in 16 bits."""


def _optimizers(saved: object, where: str) -> Iterator[Mapping[str, Any]]:
    for one in saved if isinstance(saved, list) else [saved]:
        if not isinstance(one, Mapping):
            raise RequestError(f"{where}: its optimizer state is a {type(one).__name__}; {WAY_OUT}")
        yield one


def _groups(saved: Mapping[str, Any], where: str) -> list[_Group]:
    inner = saved.get("optimizer", saved)
    state, groups = inner.get("state"), inner.get("param_groups")
    if not isinstance(groups, list) or not all(map(_is_group, groups)) or not isinstance(state, Mapping) or not state:
        raise RequestError(
            f"{where}: its optimizer state holds {', '.join(sorted(map(str, inner)))} and no moments by weight (a "
            f"distributed optimizer keeps them in a file of its own, as flat buffers); {WAY_OUT}"
        )
    for moments in state.values():
        if not isinstance(moments, Mapping) or not all(_is_moment(moments.get(kind)) for kind in (FIRST, SECOND)):
            held = ", ".join(sorted(map(str, moments))) if isinstance(moments, Mapping) else type(moments).__name__
            raise RequestError(f"{where}: its optimizer keeps {held} of a weight, Adam {FIRST} and {SECOND}; {WAY_OUT}")
    main = saved.get("fp32_from_fp16_params", saved.get("fp32_from_fp16", [[]] * len(groups)))
    if not isinstance(main, list) or len(main) != len(groups):
        raise RequestError(f"{where}: its optimizer has {len(groups)} groups, and weights in float32 for others")
    return [
        _Group([state.get(number, {}) for number in group["params"]], of_group)
        for group, of_group in zip(groups, main, strict=True)
    ]


def _is_group(group: object) -> bool:
    return isinstance(group, Mapping) and isinstance(group.get("params"), list)


def _is_moment(found: object) -> bool:
    return isinstance(found, Tensor) and found.dtype in (torch.float32, torch.bfloat16, torch.float16)


def _assign(groups: Sequence[_Group], weights: Mapping[str, Tensor], where: str) -> list[list[str]]:
    """Names of the weights in each group, in the order of its numbers."""
    kinds = sorted({_kind(name, weight) for name, weight in weights.items()})
    fitting: list[list[list[str]]] = []
    for choice in product(range(len(groups)), repeat=len(kinds)):
        group_of = dict(zip(kinds, choice, strict=True))
        names: list[list[str]] = [[] for _ in groups]
        for name, weight in weights.items():
            names[group_of[_kind(name, weight)]].append(name)
        if all(_fits(group, of_group, weights) for group, of_group in zip(groups, names, strict=True)):
            fitting.append(names)
    if len(fitting) != 1:
        sizes = " + ".join(str(len(group.moments)) for group in groups)
        says = "fit its weights in several ways" if fitting else f"do not fit its {len(weights)} weights"
        raise RequestError(f"{where}: the moments of its optimizer ({sizes}) {says}; {WAY_OUT}")
    return fitting[0]


def _kind(name: str, weight: Tensor) -> tuple[bool, bool]:
    """Whether a weight is an expert's, and whether it is a vector."""
    return ".experts." in name, weight.dim() < 2


def _fits(group: _Group, names: Sequence[str], weights: Mapping[str, Tensor]) -> bool:
    return len(names) == len(group.moments) and all(
        moment.shape == weights[name].shape
        for name, moments in zip(names, group.moments, strict=True)
        for moment in (moments[kind] for kind in (FIRST, SECOND) if kind in moments)
    )


def _main_weights(group: _Group, weights: Mapping[str, Tensor], where: str) -> Weights:
    """Weights of a group in float32, each held against the model's own.

    A model in 16 bits has some weights in float32 all the same; those stand for themselves.
    """
    rounded = [name for name, weight in weights.items() if weight.dtype in (torch.float16, torch.bfloat16)]
    if len(rounded) != len(group.main):
        raise RequestError(f"{where}: {len(group.main)} weights in float32 for {len(rounded)} in 16 bits; {WAY_OUT}")
    main = dict(zip(rounded, group.main, strict=True))
    for name, weight in main.items():
        if weight.shape != weights[name].shape or not torch.equal(weight.to(weights[name].dtype), weights[name]):
            raise RequestError(f"{where}: the optimizer's {name} in float32 is not the model's, rounded; {WAY_OUT}")
    return {name: main.get(name, weight) for name, weight in weights.items()}


def _steps(saved: object, where: str) -> int:
    steps = set(_counts(saved))
    if len(steps) != 1 or steps == {0}:
        found = ", ".join(map(str, sorted(steps))) or "nothing"
        raise RequestError(
            f"{where}: its optimizer should say how many steps it has taken, and says {found}; {WAY_OUT}"
        )
    return steps.pop()


def _counts(saved: object) -> Iterator[int]:
    """Every count of steps: of the optimizer, of a group or of a weight."""
    if isinstance(saved, Mapping):
        for key, value in saved.items():
            if key in ("step", "common_step") and isinstance(value, (int, float, Tensor)):
                yield int(value)
            else:
                yield from _counts(value)
    elif isinstance(saved, list):
        for value in saved:
            yield from _counts(value)
