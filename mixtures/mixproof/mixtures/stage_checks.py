"""Rules of the stages after pretraining: which sources a stage trains on, and which keys it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from .blocks.mixture import ShareSpec
from .blocks.source import Source
from .key_positions import KeyPath, Problem
from .spec import Spec

ON_PAIRS = ("dpo", "rpo")
"""Stages that compare two answers to one prompt."""
STAGE_KINDS: Mapping[str, tuple[str | None, ...]] = {
    "sft": ("chat", None),
    "dpo": ("preferences",),
    "rpo": ("preferences",),
    "reward": ("preferences", "ratings"),
}
"""Kinds of sources that the runs of a stage are trained and scored on; None: plain text, which counts in full."""
HALF = Fraction(1, 2)


def stage_problems(spec: Spec) -> Iterator[Problem]:
    """Return all violations of the rules of the spec's stage."""
    yield from _keys(spec)
    yield from _weights(spec)
    if spec.train.stage != "pretrain":
        yield from _kinds(spec)


def blends_of(spec: Spec) -> Iterator[tuple[KeyPath, ShareSpec]]:
    """The shares of every mixture and phase."""
    for name, mixture in spec.mixtures.items():
        path: KeyPath = ("mixtures", name)
        yield path, mixture
        for index, phase in enumerate(mixture.phases):
            yield (*path, "phases", index), phase


def shared_sources(spec: Spec) -> set[str]:
    """Sources with a share in some mixture; a rule gives one to every source."""
    blends = [blend for _, blend in blends_of(spec)]
    if any(blend.rule is not None for blend in blends):
        return set(spec.sources)
    named = {name for blend in blends for name, share in (blend.shares or {}).items() if share}
    return {name.partition("/")[0] for name in named}


def _weights(spec: Spec) -> Iterator[Problem]:
    """Refuse the weight of a source that no run reads."""
    shared = shared_sources(spec)
    for name in spec.train.loss_weights:
        if name.partition("/")[0] in spec.sources.keys() - shared:
            message = f"has no effect, because no mixture has a share of {name!r}; remove it, or give it a share"
            yield Problem(("train", "loss_weights", name), message)


def _kinds(spec: Spec) -> Iterator[Problem]:
    """Check that a stage trains on sources of its formats."""
    stage = spec.train.stage
    kinds = STAGE_KINDS[stage]
    formats = " or ".join(f"`format: {kind}`" for kind in kinds if kind is not None)
    refused = False
    for path, blend in blends_of(spec):
        for name, share in (blend.shares or {}).items():
            source = spec.sources.get(name.partition("/")[0])
            if source is None or not share or source.kind in kinds:
                continue
            refused = True
            message = f"stage {stage} trains on {formats}, and {name!r} has {_described(source)}; set its share to 0"
            yield Problem((*path, "shares", name), message)
    found = {spec.sources[name].kind for name in shared_sources(spec) if name in spec.sources} & {*kinds}
    if not refused and not found - {None}:
        message = f"stage {stage} trains on {formats}, and no mixture has such a source; set `format` or change `stage`"
        yield Problem(("train", "stage"), message)
    if stage == "reward" and len(found) > 1:
        message = "a reward model learns from pairs or from ratings, and the mixtures have both; write a spec for each"
        yield Problem(("train", "stage"), message)


def _described(source: Source) -> str:
    if source.kind is not None:
        return f"`format: {source.kind}`"
    return "plain text" if source.megatron is None else "tokens"


def _keys(spec: Spec) -> Iterator[Problem]:
    """Check that keys of one stage are not given to another."""
    train = spec.train
    if train.loss_weights and train.stage not in ("pretrain", "sft"):
        message = f"weights losses of tokens, and stage {train.stage} has a loss per pair; remove it"
        yield Problem(("train", "loss_weights"), message)
    for stage in ON_PAIRS:
        if stage in train.model_fields_set and train.stage != stage:
            yield Problem(("train", stage), f"applies only to stage {stage}, and the stage is {train.stage}; remove it")
    if train.stage == "pretrain":
        for path, given in ((("shares_by",), train), (("windows", "too_long"), train.windows)):
            if path[-1] in given.model_fields_set:
                yield Problem(("train", *path), "applies only to a `stage` after pretraining; remove it")
        return
    if train.stage in ON_PAIRS and train.init_from is None:
        message = f"stage {train.stage} measures answers against the checkpoint that it starts from; set `init_from`"
        yield Problem(("train", "init_from"), message)
    if train.dpo.label_smoothing >= HALF:
        message = "at 50% both orders of a pair count the same, so nothing would be learned; give less"
        yield Problem(("train", "dpo", "label_smoothing"), message)
    yield from _windows(spec)


def _windows(spec: Spec) -> Iterator[Problem]:
    """Check the keys that say how conversations fill windows."""
    train = spec.train
    if "pack" in train.windows.model_fields_set and train.windows.pack != "best_fit":
        message = f"stage {train.stage} packs whole conversations by best fit; remove it or set it to best_fit"
        yield Problem(("train", "windows", "pack"), message)
    cuts = "too_long" in train.windows.model_fields_set
    if train.stage in (*ON_PAIRS, "reward") and cuts and train.windows.too_long != "drop":
        message = f"at stage {train.stage} pairs and answers that do not fit into a window are dropped; remove it"
        yield Problem(("train", "windows", "too_long"), message)
    if train.eod_mask_loss:
        message = f"at stage {train.stage} the mask of each conversation says which tokens count; remove it"
        yield Problem(("train", "eod_mask_loss"), message)
    for key in ("document_mask", "reset_position_ids"):
        if key in train.model_fields_set and not getattr(train, key):
            message = f"at stage {train.stage} attention and positions restart at each conversation; remove it"
            yield Problem(("train", key), message)
    if spec.target is not None and spec.target.simulate:
        message = f"cuts sources for pretraining, and stage {train.stage} reads whole sources; remove it"
        yield Problem(("target", "simulate"), message)
