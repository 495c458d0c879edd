"""Rows and verdicts of `gpu.py`: printed as they are found, and a table with one line for each claim at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from gpu_claims import CLAIMS

Verdict = Literal["confirmed", "refuted", "not measured"]


class Row(NamedTuple):
    """A measurement."""

    name: str
    figure: str


class Judgement(NamedTuple):
    """A verdict on a claim, and the figure or the reason."""

    claim: str
    verdict: Verdict
    figure: str


class Findings(Protocol):
    """Where a part puts what it finds: a pipe to the main process, or a list."""

    def send(self, found: Row | Judgement, /) -> None:
        """Take one finding."""


@dataclass(frozen=True)
class Part:
    """What the functions of a part report to."""

    findings: Findings

    def add(self, name: str, figure: str) -> None:
        """Report a row."""
        self.findings.send(Row(name, figure))

    def judge(self, claim: str, holds: bool | None, figure: str) -> None:
        """Report a verdict; None: not measured, because of `figure`."""
        verdict: Verdict = "not measured" if holds is None else "confirmed" if holds else "refuted"
        self.findings.send(Judgement(claim, verdict, figure))

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Turn an error of the block into a row, so that the rest of the part goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever a device or a package raises is a finding
            self.add(name, f"failed: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """Class and first line of an error."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"


@dataclass
class Report:
    """All rows and verdicts, printed with the seconds since the start."""

    rows: list[Row] = field(default_factory=list)
    judgements: dict[str, Judgement] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Parts that crashed, hung or raised."""
    begin: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.begin

    def take(self, found: Iterable[Row | Judgement]) -> None:
        """Print rows, and keep rows and verdicts."""
        for one in found:
            if isinstance(one, Judgement):
                self.judgements[one.claim] = one
                continue
            self.rows.append(one)
            print(f"{self.seconds:4.0f} s  {one.name:<58} {one.figure}", flush=True)

    def miss(self, part: str, reason: str, *, failed: bool) -> None:
        """Note why a part has no result, or not all: its claims that have no verdict are not measured for this."""
        self.take([Row(part, f"failed: {reason}" if failed else f"left out: {reason}")])
        if failed:
            self.failed.append(part)
        for claim in CLAIMS:
            if claim.part == part and claim.text not in self.judgements:
                self.judgements[claim.text] = Judgement(claim.text, "not measured", reason)

    def finish(self) -> int:
        """Print a line for each claim of the guide, in its order; returns the exit code."""
        width = max(len(claim.text) for claim in CLAIMS)
        print(f"\n{'claim':<{width}}  {'verdict':<12}  figure or reason")
        missing = "its part did not finish"
        for claim in CLAIMS:
            _, verdict, figure = self.judgements.get(claim.text, Judgement(claim.text, "not measured", missing))
            print(f"{claim.text:<{width}}  {verdict:<12}  {figure}")
        refuted = [one for one in self.judgements.values() if one.verdict == "refuted"]
        if self.failed:
            print(f"\nfailed: {'; '.join(self.failed)}")
        return int(bool(refuted or self.failed))
