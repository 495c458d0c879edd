"""A run's budget in whole steps and samples, exactly.

Steps = ceil(tokens / (sequence length × global batch size)). Warm-up, decay, checkpoint intervals and the
ends of phases also round up to whole steps. The last phase ends with the run, and a run too short for both
warm-up and decay shortens the decay. The samples of a phase are distributed over its sources by largest
remainder, so they sum to the phase. A positive share that gets no sample is an error, because it would
silently drop a source.

After pretraining, shares count supervised tokens (or tokens, or examples), and how many of these a window holds is
known only when it is packed. The samples here are then an estimate from the sources' densities; the exact ones are
chosen from the packed windows of each seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.key_positions import KeyPath
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import Share, percent_string

from .rounding import ceil, largest_remainder
from .shares import PhaseShares, Supply, resolve_mixture, shares_of_run


@dataclass(frozen=True)
class PhaseBudget:
    """One phase of a run, in samples."""

    first_sample: int
    samples: int
    samples_of: dict[str, int]
    """Samples by source, only positive ones, sorted by name; they sum to `samples`."""


@dataclass(frozen=True)
class RunBudget:
    """The budget of one mixture at one proxy."""

    tokens_declared: int
    """Tokens declared in the spec."""
    steps: int
    global_batch_size: int
    sequence_length: int
    samples: int
    """steps × global batch size."""
    tokens_planned: int
    """samples × sequence length: the declared tokens, rounded up to whole steps."""
    warmup_steps: int
    decay_steps: int
    checkpoint_steps: int | None
    """Steps between checkpoints; None: one checkpoint, at the end."""
    phases: tuple[PhaseBudget, ...]
    declared: dict[str, Share] = field(default_factory=dict)
    """Exact share of each source in the whole run, before rounding to samples."""

    @property
    def samples_of(self) -> dict[str, int]:
        """Samples of each source in the whole run."""
        total: dict[str, int] = {}
        for phase in self.phases:
            for name, samples in phase.samples_of.items():
                total[name] = total.get(name, 0) + samples
        return dict(sorted(total.items()))


def windows(tokens: int, sequence_length: int) -> int:
    """Training windows of one pass. Each window has `sequence_length` targets and reads one more token."""
    return max(0, (tokens - 1) // sequence_length)


def windows_of_pass(spec: Spec, tokens: int) -> int:
    """Windows of one pass over a source of `tokens`; after pretraining an estimate of the packed ones."""
    length = spec.train.sequence_length
    return windows(tokens, length) if spec.train.stage == "pretrain" else -(-tokens // length)


def budget_run(
    spec: Spec,
    mixture: str,
    proxy: str,
    tokens_of: Mapping[str, int],
    counted_of: Mapping[str, int] | None = None,
) -> RunBudget:
    """Plan one run.

    Args:
        spec: a checked spec.
        mixture: name of the mixture.
        proxy: name of the proxy, whose recipe gives tokens and batch size.
        tokens_of: training tokens of every source, including EODs.
        counted_of: after pretraining, what shares count of every source (`train.shares_by`); None: tokens.

    Raises:
        SpecError: when a phase has no step, a positive share gets no sample, or a source is too small for one window.

    """
    recipe, train = spec.train.proxies[proxy], spec.train
    length, batch = train.sequence_length, recipe.global_batch_size
    whole = -(-recipe.tokens // (length * batch))
    tokens, steps = _length_of_run(spec, mixture, recipe.tokens, length * batch)
    counted = counted_of or tokens_of
    shares = resolve_mixture(spec, mixture, supply_of(spec, steps * batch, counted))
    _check_windows(spec, mixture, shares, tokens_of)
    warmup = ceil(train.schedule.wsd.warmup * whole)
    every = train.checkpoint_every
    by_window = tuple(_of_windows(phase, tokens_of, counted) for phase in shares)
    phases = _phases(spec, mixture, proxy, by_window, whole, steps)
    return RunBudget(
        tokens_declared=tokens,
        steps=steps,
        global_batch_size=batch,
        sequence_length=length,
        samples=steps * batch,
        tokens_planned=steps * batch * length,
        warmup_steps=warmup,
        decay_steps=min(_decay_steps(spec, mixture, phases[-1], batch, whole), steps - warmup),
        checkpoint_steps=-(-every // (length * batch)) if every is not None else None,
        phases=phases,
        declared=shares_of_run(shares),
    )


def _length_of_run(spec: Spec, mixture: str, tokens: int, tokens_of_step: int) -> tuple[int, int]:
    """Declared tokens and steps of a run: the proxy's, or up to the end of the last phase."""
    phases = spec.mixtures[mixture].phases
    declared = ceil(phases[-1].until * tokens) if phases else tokens
    return declared, -(-declared // tokens_of_step)


def _decay_steps(spec: Spec, mixture: str, phase: PhaseBudget, batch: int, whole: int) -> int:
    """Steps of the decay: those of the last phase if it has `decay: true`, else a share of the proxy's steps."""
    declared = spec.mixtures[mixture].phases
    if declared and declared[-1].decay:
        return phase.samples // batch
    return ceil(spec.train.schedule.wsd.decay * whole)


def supply_of(spec: Spec, samples: int, tokens_of: Mapping[str, int]) -> Supply:
    """The supply to which caps refer: of the target run in tokens if there is one, else of a run of `samples`."""
    if spec.target is not None:
        capacity = {name: int(spec.max_epochs(name) * tokens) for name, tokens in tokens_of.items()}
        return Supply(spec.target.tokens, tokens_of, capacity)
    capacity = {name: int(spec.max_epochs(name) * windows_of_pass(spec, tokens)) for name, tokens in tokens_of.items()}
    return Supply(samples, tokens_of, capacity)


def _of_windows(phase: PhaseShares, tokens_of: Mapping[str, int], counted_of: Mapping[str, int]) -> PhaseShares:
    """Return the shares of windows that give these shares of what is counted."""
    if counted_of is tokens_of:
        return phase
    parts = {name: share * tokens_of[name] / max(counted_of[name], 1) for name, share in phase.shares.items()}
    total = sum(parts.values())
    return PhaseShares(phase.until, {name: part / total for name, part in parts.items()})


def _check_windows(spec: Spec, mixture: str, shares: tuple[PhaseShares, ...], tokens_of: Mapping[str, int]) -> None:
    length = spec.train.sequence_length
    for name in shares_of_run(shares):
        tokens = tokens_of.get(name, 0)
        if windows_of_pass(spec, tokens) == 0:
            raise SpecError(
                f"{spec.where('mixtures', mixture, name)}: source {name} has {tokens:,} training tokens, but "
                f"one sample needs {length + 1:,}; add text, set its share to 0, or shorten `sequence_length`"
            )


def _phases(
    spec: Spec, mixture: str, proxy: str, shares: tuple[PhaseShares, ...], whole: int, steps: int
) -> tuple[PhaseBudget, ...]:
    """Divide a run of `steps` into phases, whose ends are shares of the proxy's `whole` steps."""
    batch = spec.train.proxies[proxy].global_batch_size
    phases, start = [], 0
    for index, phase in enumerate(shares):
        end = ceil(phase.until * whole) if index < len(shares) - 1 else steps
        path: KeyPath = ("mixtures", mixture, "phases", index) if len(shares) > 1 else ("mixtures", mixture)
        if end == start:
            raise SpecError(
                f"{spec.where(*path)}: at proxy {proxy} the phase has no step: it ends at step {end} of {steps}, like "
                f"the phase before; increase train.proxies.{proxy}.tokens, or set a later `until`"
            )
        samples_of = largest_remainder((end - start) * batch, phase.shares)
        _check_samples(spec, path, proxy, phase, samples_of)
        phases.append(PhaseBudget(start * batch, (end - start) * batch, samples_of))
        start = end
    return tuple(phases)


def _check_samples(spec: Spec, path: KeyPath, proxy: str, phase: PhaseShares, samples_of: Mapping[str, int]) -> None:
    samples = sum(samples_of.values())
    for name, count in samples_of.items():
        if count == 0:
            share = phase.shares[name]
            factor, least = ceil(1 / (share * samples)), Fraction(1, samples)
            raise SpecError(
                f"{spec.where(*path, name)}: at proxy {proxy} the share {percent_string(share)} of {name} needs at "
                f"least 1 sample, but {samples:,} samples give it {float(share * samples):.3g}, which rounds to 0; "
                f"train on {factor} times the tokens, set its share to {percent_string(least)}, or set it to 0"
            )
