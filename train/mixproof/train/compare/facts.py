"""Facts of a run: what must agree before two mixtures may be ranked against each other.

Facts are a flat mapping of names to values, so that a difference can be named. Some apply to a whole experiment
(tokenizer, sequence length, masks, held-out texts, evaluation protocol, audit), others to a proxy (tokens, recipe,
shape, initial checkpoint), because each proxy has its own recipe. The build is not a fact: filters, deduplication and
sources may be what is compared, as long as the held-out texts are the same.

`across` names one axis whose facts may differ. Runs with different held-out texts are never compared, nor runs with a
failed audit, nor runs with different tokenizers if one of these does not reproduce its held-out texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from mixproof.ledger.errors import RequestError
from mixproof.train.delivered_record import FimRecord
from mixproof.train.record import RunRecord
from mixproof.train.stage_record import PostTraining, RewardRecord

Axis = Literal["tokens", "flops", "tokenizer", "recipe"]
Value = str | int | bool
TOKEN_FACTS = ("consumed_tokens", "recipe.warmup_steps", "recipe.decay_steps")
"""Warm-up and decay are fractions of a run, so their steps depend on its tokens."""
MAY_DIFFER: dict[Axis, tuple[str, ...]] = {
    "tokens": TOKEN_FACTS,
    "flops": (*TOKEN_FACTS, "architecture."),
    "tokenizer": ("tokenizer",),
    "recipe": ("recipe.", "global_batch_size"),
}
"""Facts that each axis allows to differ; a name that ends with a dot is a prefix."""
LOSSLESS = "any that reproduces the held-out texts"
NOT_AUDITED = "not audited"
CLEAN = "clean"


@dataclass(frozen=True)
class Facts:
    """The facts of one run."""

    shared: Mapping[str, Value]
    """Facts of the whole experiment."""
    of_proxy: Mapping[str, Value]
    """Facts of the proxy."""
    varying: Mapping[str, Value]
    """Facts that the axis allows to differ."""

    @property
    def agreed(self) -> dict[str, Value]:
        """All facts that must agree between two runs of one proxy."""
        return {**self.shared, **self.of_proxy}


def check_axis(across: str | None) -> Axis | None:
    """Check the name of an axis, and return it typed.

    Raises:
        RequestError: when there is no such axis.
    """
    axes: dict[str, Axis] = {axis: axis for axis in get_args(Axis)}
    if across is None or across in axes:
        return axes[across] if across else None
    raise RequestError(f"--across {across}: unknown axis; use one of {', '.join(axes)}")


def facts_of(record: RunRecord, across: Axis | None, audits: Mapping[str, bool]) -> Facts:
    """Facts of one run.

    Args:
        record: a finished run.
        across: the axis that may differ.
        audits: whether the audit of a build (by id) was clean; a build that is not in it was not audited.
    """
    clean = audits.get(record.build)
    tokenizer = f"{record.tokenizer.sha256} with EOD {record.tokenizer.eod_id}"
    if record.tokenizer.bos_id is not None:
        tokenizer += f", BOS {record.tokenizer.bos_id}"
    shared: dict[str, Value] = {
        "tokenizer": tokenizer if record.tokenizer.lossless else f"{tokenizer}, lossy",
        "sequence_length": record.sequence_length,
        **{f"masks.{name}": value for name, value in record.masks.model_dump().items()},
        **{f"heldout.{source}": score.texts_sha256 for source, score in sorted(record.heldout.items())},
        **{f"evaluation.{name}": value for name, value in record.evaluation.model_dump().items()},
        "audit": NOT_AUDITED if clean is None else CLEAN if clean else "failed",
    }
    of_proxy: dict[str, Value] = {
        "consumed_tokens": record.consumed_tokens,
        "global_batch_size": record.global_batch_size,
        **{f"recipe.{name}": value for name, value in sorted(record.recipe.items())},
        **{f"architecture.{name}": value for name, value in record.architecture.model_dump().items()},
        "rope_base": record.rope_base,
        **({} if record.loss_weights is None else {"recipe.loss_weights": _weights(record.loss_weights)}),
        **({} if record.fim is None else {"recipe.fim": _fim(record.fim)}),
        **_post_training(record),
        "dtype": record.dtype,
        "init_from": _start(record),
        "prior_tokens": record.prior_tokens,
    }
    varying = {name: value for name, value in {**shared, **of_proxy}.items() if across and _may_differ(name, across)}
    kept = {name: value for name, value in shared.items() if name not in varying}
    if "tokenizer" in varying:
        kept["tokenizer"] = LOSSLESS if record.tokenizer.lossless else shared["tokenizer"]
    return Facts(kept, {name: value for name, value in of_proxy.items() if name not in varying}, varying)


def differences(first: Mapping[str, Value], second: Mapping[str, Value]) -> list[str]:
    """The differing facts in words: each name with both values."""
    names = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    return [f"{name}: {first.get(name, 'absent')} and {second.get(name, 'absent')}" for name in names]


def _weights(weights: Mapping[str, str]) -> str:
    return ", ".join(f"{source} {weight}" for source, weight in sorted(weights.items()))


def _fim(declared: Mapping[str, FimRecord]) -> str:
    """Fill-in-the-middle by source, without token ids, which are the tokenizer's."""
    return ", ".join(f"{name} {fim.rate} ({fim.spm_rate} SPM) by {fim.unit}" for name, fim in sorted(declared.items()))


def _post_training(record: RunRecord) -> dict[str, Value]:
    """Stage, what its shares count, and how conversations were cut and rendered; none for pretraining."""
    trained = record.post_training
    if trained is None:
        return {}
    return {
        "stage": trained.stage,
        "shares_by": trained.shares_by,
        "too_long": trained.too_long,
        **{
            f"recipe.{trained.stage}.{name}": value
            for settings in (trained.dpo, trained.rpo)
            if settings is not None
            for name, value in settings.model_dump().items()
        },
        **(
            {}
            if trained.reward is None
            else {"reward.loss": trained.reward.loss, "reward.attributes": _of(trained.reward)}
        ),
        **_templates(trained),
    }


def _templates(trained: PostTraining) -> dict[str, Value]:
    """The templates of conversations, not by source, because mixtures differ in their sources."""
    used = sorted(set(trained.templates.values()))
    return {"template": " and ".join(used)} if used else {}


def _of(reward: RewardRecord) -> str:
    """Name what a reward model predicts."""
    return ", ".join(reward.attributes) or "one reward"


def _start(record: RunRecord) -> str:
    initial = record.init_from
    if initial is None:
        return "nothing"
    return f"{initial.sha256} with its optimizer" if initial.optimizer else initial.sha256


def _may_differ(name: str, across: Axis) -> bool:
    return any(name.startswith(given) if given.endswith(".") else name == given for given in MAY_DIFFER[across])
