"""Rules between the keys of recipes: schedule, learning rates, muP, resources and architectures of the proxies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from .blocks.train import RateSweep
from .key_positions import KeyPath, Problem, nearest
from .spec import Spec
from .values.quantities import exact_string, percent_string


def recipes(spec: Spec) -> Iterator[Problem]:
    """Check schedule, seeds, and the rates and resources of every proxy."""
    wsd = spec.train.schedule.wsd
    if wsd.warmup + wsd.decay > 1:
        message = f"warmup and decay add up to {percent_string(wsd.warmup + wsd.decay)} of the steps, above 100%"
        yield Problem(("train", "schedule", "wsd"), message)
    for index, beta in enumerate(spec.train.optimizer.betas):
        if beta == 1:
            yield Problem(("train", "optimizer", "betas", index), "must be below 1")
    yield from twice(spec.train.seeds, ("train", "seeds"))
    for name, proxy in spec.train.proxies.items():
        if proxy.mup is not None and (spec.train.init_from is not None or spec.train.stage != "pretrain"):
            message = "scales initial weights, so it applies only to pretraining from random weights; remove it"
            yield Problem(("train", "proxies", name, "mup"), message)
        if isinstance(proxy.lr, RateSweep):
            yield from _sweep(spec, name, proxy.lr, proxy.min_lr)
        elif proxy.min_lr is not None and proxy.min_lr > proxy.lr:
            yield Problem(("train", "proxies", name, "min_lr"), "is above `lr`, from which the learning rate decays")
        if proxy.global_batch_size % proxy.ranks:
            message = f"a global batch of {proxy.global_batch_size} samples cannot be divided among {proxy.ranks} ranks"
            yield Problem(("train", "proxies", name, "ranks"), message)
        if proxy.cpus > 1 and proxy.cpus.denominator != 1:
            message = f"{exact_string(proxy.cpus)} CPUs: above 1, Ray reserves only whole CPUs"
            yield Problem(("train", "proxies", name, "cpus"), message)
        if proxy.ranks > 1 and proxy.gpus is not None and 0 < proxy.gpus < 1:
            message = "the ranks of one run cannot share a GPU; set 1, or 0 to train on the CPU"
            yield Problem(("train", "proxies", name, "gpus"), message)


def _sweep(spec: Spec, proxy: str, sweep: RateSweep, min_lr: Fraction | None) -> Iterator[Problem]:
    path: KeyPath = ("train", "proxies", proxy, "lr")
    for index, rate in enumerate(sweep.sweep):
        if min_lr is not None and min_lr > rate:
            yield Problem((*path, "sweep", index), "is below `min_lr`, to which the learning rate decays")
    yield from twice(map(exact_string, sweep.sweep), (*path, "sweep"))
    if sweep.seeds > len(spec.train.seeds):
        yield Problem((*path, "seeds"), f"is {sweep.seeds}, but `train.seeds` has {len(spec.train.seeds)}; add seeds")
    for key, names in (("anchor", [sweep.anchor] if sweep.anchor is not None else []), ("check", sweep.check)):
        for mixture in names:
            if mixture not in spec.mixtures:
                yield Problem((*path, key), f"no such mixture: {mixture!r}; {nearest(mixture, spec.mixtures)}")


def architectures(spec: Spec) -> Iterator[Problem]:
    """Check that every architecture can be built."""
    for name, proxy in spec.train.proxies.items():
        shape = proxy.architecture
        if shape is None:
            continue
        if proxy.shape is not None:
            message = "names a shape, and the `architecture` states another one; remove one of them"
            yield Problem(("train", "proxies", name, "shape"), message)
        path: KeyPath = ("train", "proxies", name, "architecture")
        if shape.heads % shape.kv_heads:
            yield Problem((*path, "kv_heads"), f"{shape.heads} heads cannot be divided into {shape.kv_heads} groups")
        if shape.head_dim % 2:
            yield Problem((*path, "head_dim"), f"{shape.head_dim} is odd; rotary embeddings rotate pairs of dimensions")


def twice(names: Iterable[object], path: KeyPath) -> Iterator[Problem]:
    """Report every name that is listed twice."""
    seen: set[object] = set()
    for name in names:
        if name in seen:
            yield Problem(path, f"{name!r} is listed twice; remove one")
        seen.add(name)
