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

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.values.quantities import Share

from .phase_budget import PhaseBudget, divide_into_phases
from .rounding import ceil
from .shares import PhaseShares, Supply, resolve_mixture, shares_of_run


class StepBatch(NamedTuple):
    """The samples of one step."""

    phase: int
    first_window: int
    """Index among all samples of the run, each of its phase's length."""
    windows: int


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

    @cached_property
    def samples_of(self) -> dict[str, int]:
        """Samples of each source in the whole run, each of its phase's length."""
        total: dict[str, int] = {}
        for phase in self.phases:
            for name, samples in phase.samples_of.items():
                total[name] = total.get(name, 0) + samples
        return dict(sorted(total.items()))

    @cached_property
    def tokens_of(self) -> dict[str, int]:
        """Planned tokens of each source in the whole run."""
        return self._tokens_by(lambda phase, source: source)

    @cached_property
    def tokens_of_streams(self) -> dict[str, int]:
        """Planned tokens of each stream in the whole run."""
        return self._tokens_by(PhaseBudget.stream_of)

    @cached_property
    def lengths_of_streams(self) -> dict[str, int]:
        """Tokens of a sample, by stream."""
        return {phase.stream_of(source): self.length_of(phase) for phase in self.phases for source in phase.samples_of}

    @cached_property
    def bounds_of_streams(self) -> dict[str, int]:
        """Fewest tokens of a document, by stream with a bound."""
        bounds = ((phase, source, least) for phase in self.phases for source, least in (phase.min_tokens or {}).items())
        return {phase.stream_of(source): least for phase, source, least in bounds}

    @property
    def has_own_phases(self) -> bool:
        """Whether some phase has its own length, rotary base or documents."""
        return any(phase.declared is not None for phase in self.phases)

    def length_of(self, phase: PhaseBudget) -> int:
        """Tokens of a sample in a phase."""
        return phase.sequence_length or self.sequence_length

    def phase_at(self, consumed_samples: int) -> int:
        """Return the phase of the next step; at the end of the run the last one."""
        firsts = [phase.first_sample for phase in self.phases]
        return max(bisect_right(firsts, consumed_samples) - 1, 0)

    def windows_before(self, consumed_samples: int) -> int:
        """Samples that were read before a step, each of its phase's length."""
        windows = 0
        for phase in self.phases:
            within = min(max(consumed_samples - phase.first_sample, 0), phase.samples)
            windows += within * self.sequence_length // self.length_of(phase)
        return windows

    def batch_at(self, consumed_samples: int) -> StepBatch:
        """Return the samples of the step that starts at `consumed_samples`."""
        number, first = self.phase_at(consumed_samples), self.windows_before(consumed_samples)
        windows = self.global_batch_size * self.sequence_length // self.length_of(self.phases[number])
        return StepBatch(number, first, windows)

    def tokens_by_length(self, consumed_samples: int) -> dict[int, int]:
        """Tokens that were read at each sequence length."""
        total: dict[int, int] = {}
        for phase in self.phases:
            within = min(max(consumed_samples - phase.first_sample, 0), phase.samples)
            length = self.length_of(phase)
            total[length] = total.get(length, 0) + within * self.sequence_length
        return total

    def _tokens_by(self, key: Callable[[PhaseBudget, str], str]) -> dict[str, int]:
        total: dict[str, int] = {}
        for phase in self.phases:
            for source, samples in phase.samples_of.items():
                name = key(phase, source)
                total[name] = total.get(name, 0) + samples * self.length_of(phase)
        return dict(sorted(total.items()))


def windows(tokens: int, sequence_length: int) -> int:
    """Training windows of one pass. Each window has `sequence_length` targets and reads one more token."""
    return max(0, (tokens - 1) // sequence_length)


def windows_of_pass(spec: Spec, tokens: int, sequence_length: int | None = None) -> int:
    """Windows of one pass over a source of `tokens`; after pretraining an estimate of the packed ones."""
    length = sequence_length or spec.train.sequence_length
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
    phases = divide_into_phases(spec, mixture, proxy, by_window, whole, steps)
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
    own = [phase.sequence_length for phase in spec.mixtures[mixture].phases] or [None]
    for of_phase, phase in zip(own, shares, strict=True):
        length = of_phase or spec.train.sequence_length
        for name in phase.shares:
            tokens = tokens_of.get(name, 0)
            if windows_of_pass(spec, tokens, length) == 0:
                raise SpecError(
                    f"{spec.where('mixtures', mixture, name)}: source {name} has {tokens:,} training tokens, but "
                    f"one sample needs {length + 1:,}; add text, set its share to 0, or shorten `sequence_length`"
                )
