"""Plan of a run after pretraining: the windows of each source are chosen from the packed draw before training.

Runs read whole sources, so a draw is the source. Each seed has its own order of windows, so it has its own plan; the
counts in it are exact. Windows are packed again whenever a plan is made, which takes seconds for 100,000 conversations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from mixproof.ledger.errors import RequestError
from mixproof.ledger.fingerprint import canonical_json
from mixproof.ledger.manifest import Manifest
from mixproof.ledger.records.source import SourceRecord
from mixproof.ledger.store import Store
from mixproof.mixtures.arithmetic.budget import RunBudget, supply_of
from mixproof.mixtures.arithmetic.shares import PhaseShares, resolve_mixture
from mixproof.mixtures.blocks.objectives import Dpo, Rpo
from mixproof.mixtures.blocks.train import Train
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.stage_checks import ON_PAIRS, STAGE_KINDS
from mixproof.mixtures.values.quantities import exact_string, percent_string
from mixproof.train.data.packed_windows import PackedWindows
from mixproof.train.data.pieces import TooLong
from mixproof.train.data.window_plan import WindowCounts, choose_windows, planned_sources
from mixproof.train.request import Draw
from mixproof.train.stage_record import Ancestor, DpoRecord, PostTraining, RewardRecord, RpoRecord


def counted_of(spec: Spec, manifest: Manifest) -> dict[str, int] | None:
    """Return what shares count of every source; None in pretraining, where it is tokens."""
    if spec.train.stage == "pretrain":
        return None
    return {name: _counted(spec, source) for name, source in manifest.sources.items()}


def _counted(spec: Spec, source: SourceRecord) -> int:
    train = source.train
    if spec.train.shares_by == "examples":
        return train.documents // source.documents_per_record
    supervised = train.supervised_tokens if spec.train.shares_by == "supervised" else None
    return train.tokens if supervised is None else supervised


def check_kinds(spec: Spec, manifest: Manifest) -> None:
    """Refuse a mixture that shares out a source which the stage cannot train on.

    Raises:
        RequestError: naming the mixture and the source.
    """
    stage = spec.train.stage
    if stage == "pretrain":
        return
    for mixture, declared in spec.mixtures.items():
        written = [part.shares or {} for part in (declared, *declared.phases)]
        for name in sorted({name for shares in written for name, share in shares.items() if share}):
            kind = manifest.sources[name].kind if name in manifest.sources else None
            if kind not in STAGE_KINDS[stage]:
                raise RequestError(
                    f"{spec.where('mixtures', mixture)}: stage {stage} does not train on {name}, a source of {kind}; "
                    "set its share to 0"
                )
    found = {manifest.sources[name].kind for name in _shared_out(spec, manifest)}
    if stage == "reward" and len(found) > 1:
        raise RequestError(
            f"{spec.where('mixtures')}: stage reward learns from pairs or from rated answers, and the mixtures have "
            "both; write a spec for each"
        )


def is_scored(spec: Spec, manifest: Manifest, name: str) -> bool:
    """Whether the runs of a spec are scored on the held-out set of a source."""
    source, stage = manifest.sources[name], spec.train.stage
    if not source.heldout.documents or stage == "pretrain":
        return bool(source.heldout.documents)
    if stage == "reward":
        return source.kind == ("preferences" if has_pairs(spec, manifest) else "ratings")
    return source.kind in STAGE_KINDS[stage] or (stage in ON_PAIRS and source.kind == "chat")


def _answers_scored(spec: Spec, manifest: Manifest) -> tuple[str, ...] | None:
    """Return the sources of conversations that the runs of a stage on pairs are scored on; None if there are none."""
    if spec.train.stage not in ON_PAIRS:
        return None
    return (
        tuple(
            name
            for name, source in sorted(manifest.sources.items())
            if source.kind == "chat" and source.heldout.documents
        )
        or None
    )


def has_pairs(spec: Spec, manifest: Manifest) -> bool:
    """Whether the runs of a spec read pairs of answers."""
    if spec.train.stage != "reward":
        return spec.train.stage in ON_PAIRS
    return all(manifest.sources[name].kind == "preferences" for name in _shared_out(spec, manifest))


def _shared_out(spec: Spec, manifest: Manifest) -> list[str]:
    """Sources with a share in some mixture; those of a rule are all that the stage can train on."""
    parts = [part for mixture in spec.mixtures.values() for part in (mixture, *mixture.phases)]
    written = {name for part in parts for name, share in (part.shares or {}).items() if share}
    by_rule = any(part.rule is not None for part in parts)
    kinds = STAGE_KINDS[spec.train.stage]
    return sorted(
        name
        for name, source in manifest.sources.items()
        if source.kind in kinds and (by_rule or name in written) and source.train.documents
    )


class WindowPlans:
    """The plans of a spec's runs; packed windows are shared by the mixtures and proxies of a seed."""

    def __init__(self, spec: Spec, manifest: Manifest, store: Store) -> None:
        self._spec, self._manifest, self._store = spec, manifest, store
        self._packed: dict[tuple[str, int], PackedWindows] = {}

    def plan(
        self, mixture: str, seed: int, budget: RunBudget, draws: Mapping[str, Draw], ancestors: tuple[Ancestor, ...]
    ) -> tuple[RunBudget, PostTraining]:
        """Choose the windows of a run.

        Args:
            mixture: its name.
            seed: of the run.
            budget: of the run, whose samples of each source are estimates.
            draws: of every source in the budget.
            ancestors: of the checkpoint that it starts from.

        Returns:
            The budget with the chosen samples of each source, and the plan.

        Raises:
            RequestError: when a source gets no window, or is read more often than its cap allows.
        """
        spec, train = self._spec, self._spec.train
        streams = {name: self._windows(draw, seed) for name, draw in draws.items()}
        counts = WindowCounts(streams, train.shares_by)
        counted = counted_of(spec, self._manifest)
        assert counted is not None, "pretraining has no plan"
        shares = resolve_mixture(spec, mixture, supply_of(spec, budget.samples, counted))
        read: Counter[str] = Counter()
        phases = []
        for phase, of_phase in zip(budget.phases, shares, strict=True):
            chosen = choose_windows(phase.samples, of_phase.shares, read, counts)
            _check_chosen(spec, mixture, of_phase, chosen)
            phases.append(replace(phase, samples_of=chosen))
            read.update(chosen)
        self._check_caps(mixture, streams, read)
        plan = PostTraining(
            stage=train.stage,
            too_long=_too_long(train),
            shares_by=train.shares_by,
            planned=planned_sources(streams, read),
            templates=templates_of(self._manifest, sorted(read)),
            answers_scored=_answers_scored(self._spec, self._manifest),
            ancestors=ancestors,
            dpo=_dpo(train.dpo) if train.stage == "dpo" else None,
            rpo=_rpo(train.rpo) if train.stage == "rpo" else None,
            reward=_reward(spec, self._manifest) if train.stage == "reward" else None,
        )
        return replace(budget, phases=tuple(phases)), plan

    def _windows(self, draw: Draw, seed: int) -> PackedWindows:
        train = self._spec.train
        if (draw.key, seed) not in self._packed:
            self._packed[draw.key, seed] = PackedWindows(
                self._store.folder(draw.prefix),
                draw,
                seed=seed,
                sequence_length=train.sequence_length,
                too_long=_too_long(train),
                pairs=has_pairs(self._spec, self._manifest),
            )
        return self._packed[draw.key, seed]

    def _check_caps(self, mixture: str, streams: Mapping[str, PackedWindows], read: Mapping[str, int]) -> None:
        """Refuse epochs of the run above a source's cap; with a target run, caps refer to that."""
        spec = self._spec
        for name, windows in read.items() if spec.target is None else ():
            epochs, cap = Fraction(windows, streams[name].windows), spec.max_epochs(name)
            if epochs > cap:
                raise RequestError(
                    f"{spec.where('mixtures', mixture)}: the run reads {windows:,} windows of {name}, "
                    f"{float(epochs):.4g} epochs of {streams[name].windows:,}, but its cap is {float(cap):.4g} epochs; "
                    "train on fewer tokens, lower its share, or set a higher cap "
                    f"(target: {{tokens: ..., max_epochs: {{{name}: ...}}}})"
                )


def _too_long(train: Train) -> TooLong:
    """Pairs and rated answers cannot be cut."""
    return "drop" if train.stage in (*ON_PAIRS, "reward") else train.windows.too_long


def _dpo(dpo: Dpo) -> DpoRecord:
    smoothing = exact_string(dpo.label_smoothing)
    return DpoRecord(beta=exact_string(dpo.beta), label_smoothing=smoothing, loss=dpo.loss)


def _rpo(rpo: Rpo) -> RpoRecord:
    return RpoRecord(beta=exact_string(rpo.beta), eta=exact_string(rpo.eta))


def _reward(spec: Spec, manifest: Manifest) -> RewardRecord:
    if has_pairs(spec, manifest):
        return RewardRecord(loss="bradley_terry", attributes=())
    names = {name for source in _shared_out(spec, manifest) for name in manifest.sources[source].attributes}
    return RewardRecord(loss="regression", attributes=tuple(sorted(names)))


def templates_of(manifest: Manifest, sources: list[str]) -> dict[str, str]:
    """Return how the conversations of each source are rendered, from the spec in the manifest."""
    described = manifest.spec.get("sources", {})
    found = {name: described.get(name, {}).get("template") for name in sources}
    return {name: canonical_json(template).decode() for name, template in found.items() if template is not None}


def _check_chosen(spec: Spec, mixture: str, phase: PhaseShares, chosen: Mapping[str, int]) -> None:
    for name, windows in chosen.items():
        if not windows:
            raise RequestError(
                f"{spec.where('mixtures', mixture, name)}: the share {percent_string(phase.shares[name])} of {name} "
                f"is less than half a window of a phase of {sum(chosen.values()):,} samples, so none of it would be "
                "read; train on more tokens, raise its share, or set it to 0"
            )
