"""What a plan costs: rates of this machine, disk space, and money by prices per hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from mixproof.mixtures.arithmetic.budget import RunBudget
from mixproof.mixtures.arithmetic.rounding import ceil
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import whole_of
from mixproof.mixtures.values.quantities import percent_string
from mixproof.tokenize.estimate import Estimate
from mixproof.tokenize.measure import measure_documents
from mixproof.train.launch.cost import ProxyCost
from mixproof.train.proxies import architecture_of

from .machine.measured import Measured, cache_path, recall, remember
from .output import amount, count, hours, stderr
from .request import Request

MeasureOption = Annotated[
    bool,
    typer.Option("--measure", help="Measure this machine for some seconds; the rates are kept for later plans."),
]
CpuPriceOption = Annotated[
    float | None, typer.Option("--price-cpu-hour", min=0, metavar="PRICE", help="Price of one core for one hour.")
]
GpuPriceOption = Annotated[
    float | None, typer.Option("--price-gpu-hour", min=0, metavar="PRICE", help="Price of one GPU for one hour.")
]
SHOWN_SHARE = 0.01
"""Uses of the disk below this share of the sum are shown together."""


def wholes(request: Request) -> list[Estimate]:
    """The files of every source, counted once even if several parts of a split source read them."""
    spec, estimates = request.spec, request.estimates
    return list({whole_of(spec, name): found for name, found in estimates.items()}.values())


def measured_rates(request: Request, vocab_size: int, *, measure: bool) -> Measured:
    """The rates of this machine for a spec: measured now, or as measured before; empty if they never were."""
    spec, path = request.loaded.as_written, cache_path()
    if measure:
        stderr.print("measuring how fast this machine reads, tokenizes and trains ...")
        remember(
            spec, vocab_size, measure_documents(request.loaded, request.found), _training(request, vocab_size), path
        )
    return recall(spec, vocab_size, path) or Measured(None, {})


def _training(request: Request, vocab_size: int) -> dict[str, tuple[float, str]]:
    from mixproof.train.launch.measure import measure_training  # loads torch

    length, proxies = request.spec.train.sequence_length, request.spec.train.proxies
    return {
        name: measure_training(architecture_of(name, proxy), vocab_size, length, threads=int(proxy.cpus))
        for name, proxy in proxies.items()
    }


def disk_line(bytes_of: Mapping[str, int]) -> str:
    """The sum of the disk space, and what it is for, the largest first."""
    total = sum(bytes_of.values())
    if not total:
        return "disk space: nothing new"
    large = sorted((item for item in bytes_of.items() if item[1] >= SHOWN_SHARE * total), key=lambda item: -item[1])
    rest = total - sum(size for _, size in large)
    large += [("other files", rest)] if rest else []
    parts = [f"{amount(size)}B of {name}" for name, size in large]
    return f"disk space: about {amount(total)}B: {', '.join(parts)}"


@dataclass(frozen=True)
class SearchCost:
    """What the block `search` of a spec adds to its declared runs, at most; finished runs are reused."""

    proxy: str
    candidates: int
    runs_at_most: int
    tokens_at_most: int
    trunks: int = 0
    """Trunks that all runs branch from, one per seed; 0 if whole runs are searched."""
    race: tuple[str, ...] = ()
    """Shares of the tokens after which candidates may stop."""

    def to_json(self) -> dict[str, object]:
        """Its form in `plan --json`."""
        found = asdict(self)
        return found if self.race else {name: value for name, value in found.items() if name != "race"}

    def line(self) -> str:
        """The cost in one sentence."""
        stops = f"; candidates that fall behind stop after {', '.join(self.race)}" if self.race else ""
        branches = f" from {count(self.trunks)} trunks" if self.trunks else ""
        return (
            f"search: {count(self.candidates)} candidates; with repeats and finalists at most "
            f"{count(self.runs_at_most)} runs of {self.proxy}{branches}, {amount(self.tokens_at_most)} tokens; "
            f"not in the table{stops}"
        )


def search_cost(spec: Spec, budgets: Mapping[tuple[str, str], RunBudget]) -> SearchCost | None:
    """The cost of the search that a spec declares; None if it declares none."""
    if spec.search is None:
        return None
    declared, proxy = spec.search, spec.search.proxy or next(iter(spec.train.proxies))
    finalists = declared.finalists + 2  # the predicted optimum and the anchor
    candidates = sum(declared.rounds)
    runs = candidates + declared.repeated + declared.repeats * (1 + finalists)
    tokens = next(budget.tokens_planned for (_, name), budget in budgets.items() if name == proxy)
    if declared.phase is None:
        race = () if declared.race is None else declared.race.rungs
        decays = sum(ceil(spec.train.schedule.wsd.decay * rung * tokens) for rung in race)
        again = (candidates + declared.repeats + declared.repeated) * decays
        return SearchCost(proxy, candidates, runs, runs * tokens + again, race=tuple(map(percent_string, race)))
    decay = ceil(spec.train.schedule.wsd.decay * tokens)
    trunks = 2 * declared.repeats
    return SearchCost(proxy, candidates, runs, runs * decay + trunks * (tokens - decay), trunks)


@dataclass(frozen=True)
class Prices:
    """Prices per hour, in any currency."""

    cpu_hour: float | None = None
    gpu_hour: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is a price."""
        return self.cpu_hour is not None or self.gpu_hour is not None

    def line(self, core_hours: float | None, costs: Sequence[ProxyCost]) -> str:
        """The cost in one sentence."""
        cpu, gpu = _device_hours(costs, "cpu") + (core_hours or 0.0), _device_hours(costs, "cuda")
        parts = [
            f"{hours(count)} {unit} at {price:g}" if price is not None else f"{hours(count)} {unit} without a price"
            for count, unit, price in ((cpu, "CPU-hours", self.cpu_hour), (gpu, "GPU-hours", self.gpu_hour))
            if count
        ]
        unknown = "; the time of the build is unknown" if core_hours is None else ""
        return f"cost: about {self.total(core_hours, costs):,.2f} ({', '.join(parts) or 'nothing to do'}{unknown})"

    def total(self, core_hours: float | None, costs: Sequence[ProxyCost]) -> float:
        """What has a price, added up."""
        cpu = _device_hours(costs, "cpu") + (core_hours or 0.0)
        return cpu * (self.cpu_hour or 0.0) + _device_hours(costs, "cuda") * (self.gpu_hour or 0.0)

    def to_json(self, core_hours: float | None, costs: Sequence[ProxyCost]) -> dict[str, object]:
        """The key `price`; empty without prices."""
        return {"price": self.total(core_hours, costs)} if self.given else {}


FREE = Prices()


def _device_hours(costs: Sequence[ProxyCost], device: str) -> float:
    return sum(cost.hours for cost in costs if cost.rate.device == device)
