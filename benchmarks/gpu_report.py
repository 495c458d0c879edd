"""Rows and verdicts of `gpu.py`, printed as they are found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Report:
    """Measured rows, and a verdict for each claim of the guide."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    verdicts: list[tuple[str, str, str]] = field(default_factory=list)
    """Claim, `holds`, `does not hold` or `not measured`, and the figure or the reason."""
    seconds: float = math.inf
    """After this many, no part starts."""
    begin: float = field(default_factory=time.monotonic)

    def add(self, name: str, figure: str) -> None:
        """Add and print a row."""
        self.rows.append((name, figure))
        print(f"{time.monotonic() - self.begin:4.0f} s  {name:<58} {figure}", flush=True)

    def judge(self, claim: str, holds: bool | None, figure: str) -> None:
        """Add a verdict; None: not measured."""
        word = "not measured" if holds is None else "holds" if holds else "does not hold"
        self.verdicts.append((claim, word, figure))

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Turn an error of the block into a row and a claim that does not hold, or is not measured."""
        try:
            yield
        except ImportError as error:
            self.add(name, f"not measured: {error}")
            self.judge(name, None, str(error))
        except Exception as error:  # noqa: BLE001  whatever a device or a package raises is a finding
            message = (str(error).strip().splitlines() or ["no message"])[0]
            self.add(name, f"failed: {type(error).__name__}: {message}")
            self.judge(name, False, f"{type(error).__name__}: {message}")

    def has_time(self, part: str) -> bool:
        """Whether there is time for another part; if not, a verdict says that it was not measured."""
        late = time.monotonic() - self.begin > self.seconds
        if late:
            self.judge(part, None, f"no time left after {self.seconds / 60:.0f} minutes")
        return not late

    def finish(self) -> int:
        """Print the verdicts; returns the exit code."""
        print(f"\n{'claim':<70} {'verdict':<14} figure")
        for claim, word, figure in self.verdicts:
            print(f"{claim:<70} {word:<14} {figure}")
        return int(any(word == "does not hold" for _, word, _ in self.verdicts))
