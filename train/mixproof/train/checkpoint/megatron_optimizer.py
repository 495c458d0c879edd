"""Adam's moments in Megatron-LM's checkpoints, assigned to their weights.

A single file (`model_optim_rng.pt`) numbers them; its form depends on the optimizer:

    FP32Optimizer                        {"state": {0: {"exp_avg", "exp_avg_sq"[, "step"]}, ...},
                                          "param_groups": [{"params": [0, ...][, "step"]}, ...]}
    Float16OptimizerWithFloat16Params    {"optimizer": as above, "fp32_from_fp16_params": [[weight, ...] a group]}
    ChainedOptimizer                     a list of these

A number is a weight of its group, in the model's order, but the file does not say which weights a group holds:
Megatron-LM separates matrices from vectors, which do not decay, and dense weights from experts. So every assignment of
these four classes to the groups is checked against the shapes of the moments, and exactly one must fit. Float32 weights
confirm it: rounded to the model's dtype they must equal the model's weights bit for bit. Training continues from them.

A torch_dist checkpoint names them: `optimizer.state.{exp_avg, exp_avg_sq, fp32_param}.<weight>`; the step count is in
its `common.pt`. The flat buffers of a distributed optimizer (`distrib_optim.pt`, `dp_reshardable`) are not read.
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
from mixproof.mixtures.blocks.train import Architecture
from mixproof.train.model.weight_names import Weights, check_shape, is_weight, rename

from .safe_loading import load_tensors

FIRST, SECOND, MAIN = "exp_avg", "exp_avg_sq", "fp32_param"
_IN_FOLDER = re.compile(r"^(?:chained_\d+\.)?optimizer\.state\.(exp_avg|exp_avg_sq|fp32_param|param)\.(.+)$")
WAY_OUT = "leave `optimizer` out of `init_from` to start from the weights alone"


@dataclass(frozen=True)
class Moments:
    """Adam's state between two steps, by the names of weights."""

    steps: int
    """Steps taken; Adam's bias corrections continue from here."""
    first: Weights
    """Running means of gradients."""
    second: Weights
    """Running means of their squares."""
    main: Weights = field(default_factory=dict)
    """Weights in float32 if the model's are rounded; else empty."""

    def state_of(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """Return the state of torch's Adam for one weight, on the weight's device."""
        moments = {FIRST: self.first[name], SECOND: self.second[name]}
        copies = {kind: torch.empty_like(weight).copy_(moment) for kind, moment in moments.items()}
        return {"step": torch.tensor(float(self.steps), device=weight.device), **copies}

    def checked(self, architecture: Architecture, vocab_size: int, where: str) -> Moments:
        """Return the same by this package's names, checked against the shapes of a proxy.

        Raises:
            RequestError: naming a tensor that is missing or has a different shape.
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
    """Return Adam's state from a single file, by the model's names in that file.

    Args:
        content: of the file.
        model: its weights, in order.
        where: the file, for errors.

    Raises:
        RequestError: when there is none, it is not Adam's, or it does not fit the weights.
    """
    saved = content.get("optimizer")
    if not saved:
        raise RequestError(f"{where}: the file has no optimizer state; {WAY_OUT}")
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
    """Return Adam's state from a torch_dist checkpoint, by the checkpoint's names.

    Args:
        folder: of the checkpoint.
        common: the contents of its `common.pt`.

    Raises:
        RequestError: when there is none by weight names.
        DamagedFileError: when a file is truncated.
    """
    parts: dict[str, Weights] = {FIRST: {}, SECOND: {}, MAIN: {}}
    for name, tensor in load_tensors(folder, lambda name: _IN_FOLDER.match(name) is not None).items():
        found = _IN_FOLDER.match(name)
        assert found is not None, "only these names were selected"
        parts[MAIN if found[1] == "param" else found[1]][found[2]] = tensor
    if not parts[FIRST] or not parts[SECOND]:
        raise RequestError(
            f"{folder}: the checkpoint has no Adam moments by weight name (`optimizer.state.{FIRST}.*`); a distributed "
            f"optimizer saves them with --dist-ckpt-optim-fully-reshardable; {WAY_OUT}"
        )
    return Moments(_steps(common.get("optimizer"), str(folder)), parts[FIRST], parts[SECOND], parts[MAIN])


@dataclass(frozen=True)
class _Group:
    moments: Sequence[Mapping[str, Tensor]]
    """Of each weight in the model's order; empty if the optimizer never updated it."""
    main: Sequence[Tensor]
    """The float32 copies of those weights that the model has in 16 bits."""


def _optimizers(saved: object, where: str) -> Iterator[Mapping[str, Any]]:
    for optimizer in saved if isinstance(saved, list) else [saved]:
        if not isinstance(optimizer, Mapping):
            raise RequestError(f"{where}: the optimizer state is a {type(optimizer).__name__}, not a dict; {WAY_OUT}")
        yield optimizer


def _groups(saved: Mapping[str, Any], where: str) -> list[_Group]:
    inner = saved.get("optimizer", saved)
    state, groups = inner.get("state"), inner.get("param_groups")
    if not isinstance(groups, list) or not all(map(_is_group, groups)) or not isinstance(state, Mapping) or not state:
        raise RequestError(
            f"{where}: the optimizer state has {', '.join(sorted(map(str, inner)))} but no moments by weight (a "
            f"distributed optimizer keeps them in a separate file, as flat buffers); {WAY_OUT}"
        )
    for moments in state.values():
        if not isinstance(moments, Mapping) or not all(_is_moment(moments.get(kind)) for kind in (FIRST, SECOND)):
            found = ", ".join(sorted(map(str, moments))) if isinstance(moments, Mapping) else type(moments).__name__
            raise RequestError(
                f"{where}: the optimizer keeps {found} for each weight, Adam keeps {FIRST} and {SECOND}; {WAY_OUT}"
            )
    main = saved.get("fp32_from_fp16_params", saved.get("fp32_from_fp16", [[]] * len(groups)))
    if not isinstance(main, list) or len(main) != len(groups):
        raise RequestError(
            f"{where}: the optimizer has {len(groups)} parameter groups, but its float32 weights are for a different "
            f"number of groups; {WAY_OUT}"
        )
    return [
        _Group([state.get(number, {}) for number in group["params"]], of_group)
        for group, of_group in zip(groups, main, strict=True)
    ]


def _is_group(group: object) -> bool:
    return isinstance(group, Mapping) and isinstance(group.get("params"), list)


def _is_moment(found: object) -> bool:
    return isinstance(found, Tensor) and found.dtype in (torch.float32, torch.bfloat16, torch.float16)


def _assign(groups: Sequence[_Group], weights: Mapping[str, Tensor], where: str) -> list[list[str]]:
    """Return the names of the weights in each group, in the order of its numbers."""
    classes = sorted({_weight_class(name, weight) for name, weight in weights.items()})
    fitting: list[list[list[str]]] = []
    for choice in product(range(len(groups)), repeat=len(classes)):
        group_of = dict(zip(classes, choice, strict=True))
        names: list[list[str]] = [[] for _ in groups]
        for name, weight in weights.items():
            names[group_of[_weight_class(name, weight)]].append(name)
        if all(_fits(group, of_group, weights) for group, of_group in zip(groups, names, strict=True)):
            fitting.append(names)
    if len(fitting) != 1:
        sizes = " + ".join(str(len(group.moments)) for group in groups)
        problem = "fit its weights in several ways" if fitting else f"do not fit its {len(weights)} weights"
        raise RequestError(f"{where}: the moments of the optimizer ({sizes}) {problem}; {WAY_OUT}")
    return fitting[0]


def _weight_class(name: str, weight: Tensor) -> tuple[bool, bool]:
    """Whether a weight is an expert's, and whether it is a vector."""
    return ".experts." in name, weight.dim() < 2


def _fits(group: _Group, names: Sequence[str], weights: Mapping[str, Tensor]) -> bool:
    return len(names) == len(group.moments) and all(
        moment.shape == weights[name].shape
        for name, moments in zip(names, group.moments, strict=True)
        for moment in (moments[kind] for kind in (FIRST, SECOND) if kind in moments)
    )


def _main_weights(group: _Group, weights: Mapping[str, Tensor], where: str) -> Weights:
    """Return the weights of a group in float32, each checked against the model's.

    A 16-bit model still has some weights in float32; those are returned as they are.
    """
    rounded = [name for name, weight in weights.items() if weight.dtype in (torch.float16, torch.bfloat16)]
    if len(rounded) != len(group.main):
        raise RequestError(
            f"{where}: the optimizer has {len(group.main)} float32 weights for the model's {len(rounded)} 16-bit "
            f"weights; {WAY_OUT}"
        )
    main = dict(zip(rounded, group.main, strict=True))
    for name, weight in main.items():
        if weight.shape != weights[name].shape or not torch.equal(weight.to(weights[name].dtype), weights[name]):
            raise RequestError(f"{where}: the optimizer's float32 {name} does not round to the model's; {WAY_OUT}")
    return {name: main.get(name, weight) for name, weight in weights.items()}


def _steps(saved: object, where: str) -> int:
    steps = set(_counts(saved))
    if len(steps) != 1 or steps == {0}:
        found = ", ".join(map(str, sorted(steps))) or "nothing"
        raise RequestError(f"{where}: the optimizer should state one positive step count; it states {found}; {WAY_OUT}")
    return steps.pop()


def _counts(saved: object) -> Iterator[int]:
    """Yield every step count: of the optimizer, of a group or of a weight."""
    if isinstance(saved, Mapping):
        for key, value in saved.items():
            if key in ("step", "common_step") and isinstance(value, (int, float, Tensor)):
                yield int(value)
            else:
                yield from _counts(value)
    elif isinstance(saved, list):
        for value in saved:
            yield from _counts(value)
