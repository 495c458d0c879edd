"""Rules between the keys of a spec, which no single model can see.

Shares and their sources are checked where they are read (`mixture_forms.py`); everything here looks at the
models and says what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .key_positions import KeyPath, Problem, nearest
from .mixture_forms import RESERVED
from .quantities import exact_string, percent_string
from .spec import Mixture, ShareSpec, Spec

LONGEST = 10
"""Most times the proxy's tokens that a branch may end at: catches 80 where 80% is meant."""
PARENTS = "one that comes from a parent file goes with `null`"


def find_problems(spec: Spec) -> list[Problem]:
    """Return everything that is wrong between keys."""
    checks = (_sources, _source_names, _choices, _dedup_groups, _mixtures, _recipes, _architectures)
    return [problem for check in checks for problem in check(spec)]


def _sources(spec: Spec) -> Iterator[Problem]:
    for name, source in spec.sources.items():
        if name in RESERVED:
            yield Problem(("sources", name), f"{name!r} is a word of the spec itself; give the source another name")
        if bool(source.files) == bool(source.megatron):
            message = "a source has either `files` or `megatron`, and exactly one of them"
            yield Problem(("sources", name), message)
        if source.megatron is None:
            if source.tokenizer_sha256 is not None:
                message = "says which tokenizer made the tokens of a `megatron` source; texts have none yet"
                yield Problem(("sources", name, "tokenizer_sha256"), message)
            continue
        for key in sorted(source.model_fields_set - {"megatron", "tokenizer_sha256", "files"}):
            message = "is about texts, and a `megatron` source has tokens only; take it out"
            yield Problem(("sources", name, key), message)
        if spec.tokenizer.train is not None:
            message = "tokens need the tokenizer that made them, and this spec trains one of its own; give it by path"
            yield Problem(("sources", name, "megatron"), message)


def _source_names(spec: Spec) -> Iterator[Problem]:
    split = {name for name, source in spec.sources.items() if source.split_by}
    for path, name in named_sources(spec):
        if name not in spec.sources and name.partition("/")[0] not in split:
            yield Problem(path, f"there is no source {name!r}; {nearest(name, spec.sources)}")


def named_sources(spec: Spec) -> Iterator[tuple[KeyPath, str]]:
    """Every place outside mixtures that names a source."""
    if spec.dedup is not None:
        for index, name in enumerate(spec.dedup.keep):
            yield ("dedup", "keep", index), name
        if spec.dedup.paragraphs is not None:
            for index, name in enumerate(spec.dedup.paragraphs.sources or ()):
                yield ("dedup", "paragraphs", "sources", index), name
        if isinstance(spec.dedup.scope, dict):
            for group, members in spec.dedup.scope.items():
                for index, name in enumerate(members):
                    yield ("dedup", "scope", group, index), name
    if spec.target is not None:
        for name in spec.target.max_epochs:
            if name != "default":
                yield ("target", "max_epochs", name), name
    if spec.objective is not None:
        for name in spec.objective.heldout_bpb:
            yield ("objective", "heldout_bpb", name), name


def _choices(spec: Spec) -> Iterator[Problem]:
    tokenizer, heldout = spec.tokenizer, spec.heldout
    kinds = (tokenizer.sentencepiece, tokenizer.huggingface, tokenizer.train)
    if sum(kind is not None for kind in kinds) != 1:
        yield Problem(("tokenizer",), f"has exactly one of `sentencepiece`, `huggingface` and `train`; {PARENTS}")
    if (heldout.create is None) == (heldout.from_ is None):
        yield Problem(("heldout",), f"has exactly one of `create` and `from`; {PARENTS}")
    if spec.objective is not None and not any(spec.objective.heldout_bpb.values()):
        yield Problem(("objective", "heldout_bpb"), "all weights are 0; at least one must be above zero")


def _dedup_groups(spec: Spec) -> Iterator[Problem]:
    if spec.dedup is None:
        return
    for path, name in named_sources(spec):
        if path[0] == "dedup" and name in spec.sources and spec.sources[name].megatron is not None:
            yield Problem(path, f"{name!r} has tokens only, and deduplication compares texts; take it out")
    yield from _twice(spec.dedup.keep, ("dedup", "keep"))
    if spec.dedup.paragraphs is not None:
        yield from _twice(spec.dedup.paragraphs.sources or (), ("dedup", "paragraphs", "sources"))
    if isinstance(spec.dedup.scope, dict):
        members = [name for group in spec.dedup.scope.values() for name in group]
        yield from _twice(members, ("dedup", "scope"))


def _twice(names: Iterable[object], path: KeyPath) -> Iterator[Problem]:
    seen: set[object] = set()
    for name in names:
        if name in seen:
            yield Problem(path, f"{name!r} stands twice; take one out")
        seen.add(name)


def _mixtures(spec: Spec) -> Iterator[Problem]:
    for name, mixture in spec.mixtures.items():
        path: KeyPath = ("mixtures", name)
        if mixture.phases:
            for key in ("shares", "rule", "times", "temperature"):
                if key in mixture.model_fields_set:
                    yield Problem((*path, key), "stands beside `phases`; put it into a phase")
            yield from _phases(mixture, path)
            for index, phase in enumerate(mixture.phases):
                yield from _blend(phase, (*path, "phases", index))
        else:
            yield from _blend(mixture, path)


def _phases(mixture: Mixture, path: KeyPath) -> Iterator[Problem]:
    end = mixture.phases[0].until * 0
    for index, phase in enumerate(mixture.phases):
        if phase.until <= end:
            message = f"{percent_string(phase.until)} does not lie behind {percent_string(end)}, where the phase starts"
            yield Problem((*path, "phases", index, "until"), message)
        end = phase.until
        if phase.decay and index < len(mixture.phases) - 1:
            message = "only the last phase decays; a run that goes on after a decay is a branch of its trunk"
            yield Problem((*path, "phases", index, "decay"), message)
    if end > LONGEST:
        message = f"the last phase ends at {percent_string(end)} of the proxy's tokens; give the proxy more"
        yield Problem((*path, "phases", len(mixture.phases) - 1, "until"), message)
    elif end != 1 and not mixture.phases[-1].decay:
        message = (
            f"the last phase ends at {percent_string(end)}; it must end at 100%, or be a branch of its own length, "
            "which `decay: true` in it says"
        )
        yield Problem((*path, "phases", len(mixture.phases) - 1, "until"), message)


def _blend(blend: ShareSpec, path: KeyPath) -> Iterator[Problem]:
    if (blend.shares is None) == (blend.rule is None):
        yield Problem(path, "has exactly one of shares, `rule` and `phases`")
    if blend.rule is None:
        for key in ("times", "temperature"):
            if key in blend.model_fields_set:
                yield Problem((*path, key), "changes a rule's shares, and there is no `rule` here")
    elif (blend.rule == "temperature") != (blend.temperature is not None):
        message = "`temperature: 2` stands with `rule: temperature`, and only there"
        yield Problem((*path, "temperature"), message)


def _recipes(spec: Spec) -> Iterator[Problem]:
    wsd = spec.train.schedule.wsd
    if wsd.warmup + wsd.decay > 1:
        message = f"warmup and decay take {percent_string(wsd.warmup + wsd.decay)} of the steps, more than there are"
        yield Problem(("train", "schedule", "wsd"), message)
    for index, beta in enumerate(spec.train.optimizer.betas):
        if beta == 1:
            yield Problem(("train", "optimizer", "betas", index), "a beta lies below 1")
    yield from _twice(spec.train.seeds, ("train", "seeds"))
    for name, proxy in spec.train.proxies.items():
        if proxy.min_lr > proxy.lr:
            yield Problem(("train", "proxies", name, "min_lr"), "is above `lr`; the decay ends at it")
        if proxy.global_batch_size % proxy.ranks:
            message = f"a global batch of {proxy.global_batch_size} samples cannot be divided by {proxy.ranks}"
            yield Problem(("train", "proxies", name, "ranks"), message)
        if proxy.cpus > 1 and proxy.cpus.denominator != 1:
            message = f"{exact_string(proxy.cpus)} processors: above one, Ray gives whole ones"
            yield Problem(("train", "proxies", name, "cpus"), message)
        if proxy.ranks > 1 and proxy.gpus is not None and 0 < proxy.gpus < 1:
            message = "ranks of one run cannot share a GPU: give 1, or 0 for the CPU"
            yield Problem(("train", "proxies", name, "gpus"), message)


def _architectures(spec: Spec) -> Iterator[Problem]:
    for name, proxy in spec.train.proxies.items():
        shape = proxy.architecture
        if shape is None:
            continue
        path: KeyPath = ("train", "proxies", name, "architecture")
        if shape.heads % shape.kv_heads:
            yield Problem((*path, "kv_heads"), f"{shape.heads} heads cannot share {shape.kv_heads} evenly")
        if shape.head_dim % 2:
            yield Problem((*path, "head_dim"), f"{shape.head_dim} is odd; rotary positions turn pairs")
