"""Gopher quality, Gopher repetition, C4 and FineWeb against datatrove's: rates, and decisions that differ.

Datatrove's defaults, each filter on each document on its own. `--warm` MB drawn from all domains go through ours alone
first, because datatrove's have no memo to fill; then `--megabytes` MB of each domain, none of them among the warm ones,
go through one side and then through the other, which begins with the next domain. Before each turn the side works for
`--lead` seconds on documents of the warm-up, uncounted: while the other side has its turn, a core's caches forget it,
and the host of a virtual machine may take memory back that was idle for seconds, which a worker that works on does not
see. A different reason counts as a disagreement, and so does a different text that C4 leaves.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from datatrove.data import Document as DatatroveDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from dedup import texts_of
from mixproof.mixtures.blocks.source import Step
from mixproof.pipeline.record import Raw
from mixproof.pipeline.steps import Drop, make_steps
from mixproof.pipeline.steps.document import Document

THEIRS = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4_quality": C4QualityFilter,
    "fineweb_quality": FineWebQualityFilter,
}
FILTERS = tuple(Step(name=name) for name in THEIRS)
Decisions = list[tuple[str | None, str]]
"""Per filter: the reason a document went, or None and the text that stays."""
Filters = Callable[[str], Decisions]


def compare_filters(domains: Sequence[Path], given: argparse.Namespace) -> None:
    """Print, for each domain, both rates, their ratio and the decisions that differ."""
    warm, measured = _draw(domains, given)
    ours, theirs = _our_filters(), _their_filters()
    for text in warm:
        ours(text)
    theirs(warm[0])  # loads spaCy
    print(f"filters, after {megabytes_of(warm):.0f} MB of other documents:")
    everything = [0.0, 0.0, 0.0]
    documents, all_differ = 0, Counter[str]()
    for number, (domain, texts) in enumerate(measured.items()):
        seconds, differ = _take_turns(texts, (ours, theirs), first=number % 2, warm=warm, lead_seconds=given.lead)
        size, documents = megabytes_of(texts), documents + len(texts)
        everything = [total + one for total, one in zip(everything, (size, *seconds), strict=True)]
        all_differ += differ
        print(f"  {domain:<26} {len(texts):5} documents  {rates(size, seconds)}  {differ.total()} decisions differ")
    shares = ", ".join(f"{name} {100 * (1 - all_differ[name] / documents):.3f}%" for name in THEIRS)
    print(f"  {'all':<26} {documents:5} documents  {rates(everything[0], everything[1:])}  agreement: {shares}")


def _draw(domains: Sequence[Path], given: argparse.Namespace) -> tuple[list[str], dict[str, list[str]]]:
    """Documents for the warm-up, drawn from all domains, and those to measure by domain."""
    measured: dict[str, list[str]] = {}
    others: list[str] = []
    chosen = random.Random(given.seed)  # noqa: S311  an order, not a secret
    for domain in domains:
        texts = list(texts_of(domain))
        chosen.shuffle(texts)
        measured[domain.name], rest = _take(texts, given.megabytes * 1e6)
        others += rest
    chosen.shuffle(others)
    return _take(others, given.warm * 1e6)[0], measured


def _take_turns(
    texts: list[str], sides: Sequence[Filters], *, first: int, warm: Sequence[str], lead_seconds: float
) -> tuple[list[float], Counter[str]]:
    """CPU seconds of each side, of which `first` begins, and the decisions that differ."""
    seconds, found = [0.0] * len(sides), [list[Decisions]() for _ in sides]
    for turn in range(len(sides)):
        side = (first + turn) % len(sides)
        _work(sides[side], warm, lead_seconds)
        started = time.process_time()
        found[side] = [sides[side](text) for text in texts]
        seconds[side] = time.process_time() - started
    differ = Counter[str]()
    for decisions in zip(*found, strict=True):
        differ.update(name for name, a, b in zip(THEIRS, *decisions, strict=True) if a != b)
    return seconds, differ


def _work(side: Filters, warm: Sequence[str], least_seconds: float) -> None:
    end = time.monotonic() + least_seconds
    for text in warm:
        if time.monotonic() > end:
            return
        side(text)


def _our_filters() -> Filters:
    steps = make_steps(FILTERS)

    def run(text: str) -> Decisions:
        document = Document(Raw(0, None, text))
        results = [step.apply(document) for step in steps]
        return [(result.reason, "") if isinstance(result, Drop) else (None, result) for result in results]

    return run


def _their_filters() -> Filters:
    filters = [kind() for kind in THEIRS.values()]

    def run(text: str) -> Decisions:
        decisions: Decisions = []
        for one in filters:
            document = DatatroveDocument(text=text, id="")
            decision = one.filter(document)
            decisions.append((None, document.text) if decision is True else (decision[1], ""))
        return decisions

    return run


def _take(texts: list[str], size: float) -> tuple[list[str], list[str]]:
    taken = 0
    for number, text in enumerate(texts):
        if taken >= size:
            return texts[:number], texts[number:]
        taken += len(text.encode())
    return texts, []


def megabytes_of(texts: Sequence[str]) -> float:
    """UTF-8 of texts."""
    return sum(len(text.encode()) for text in texts) / 1e6


def rates(size: float, seconds: Sequence[float]) -> str:
    """What both sides did with this many megabytes, and how many times as fast ours was."""
    ours, theirs = (size / spent for spent in seconds)
    return f"{size:6.1f} MB  mixproof {ours:7.2f} MB/s  datatrove {theirs:6.3f} MB/s  {ours / theirs:5.1f}x"
