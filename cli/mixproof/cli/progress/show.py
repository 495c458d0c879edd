"""Shows progress on stderr: a live line on a terminal, elsewhere a line per stage and per minute; `-q` shows none."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from mixproof.cli.output import stderr
from mixproof.cli.tables.run_table import RunLines, run_table
from mixproof.ledger.store import Store
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.cluster.task_progress import TaskProgress

from .log_file import LogFile
from .stage_line import StageState, duration, finished_line, running_line
from .stages import Job, stages_of
from .tracker import Tracker

if TYPE_CHECKING:  # importing the train room loads torch
    from mixproof.train.launch.progress import FamilyProgress

LINES_AROUND_RUNS = 9
"""Lines for the stage, the header, rules and caption of the table of runs, and for the terminal's own prompt."""
SECONDS_BETWEEN_LINES = 60.0
TICK_SECONDS = 1.0
_is_quiet = False


def set_quiet(quiet: bool) -> bool:
    """Show no progress in this process if `quiet`; returns it."""
    global _is_quiet
    _is_quiet = quiet
    return quiet


class StageProgress:
    """Progress of a command's stages and runs. Reports come from several threads."""

    def __init__(self, stages: Sequence[str], log: LogFile | None) -> None:
        self._tracker, self._log = Tracker(stages), log
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._next_line = self._began + SECONDS_BETWEEN_LINES
        self._family: FamilyProgress | None = None
        self._runs = RunLines()

    def __call__(self, progress: TaskProgress) -> None:
        """Take what a cluster reports about its tasks."""
        with self._lock:
            if self._log is not None:
                self._log.open()
            ended = self._tracker.take(progress, time.monotonic())
        self._finish(ended)

    def runs(self, family: FamilyProgress) -> None:
        """Show the state of the command's runs."""
        self._family = family
        for line in self._runs.lines(family, time.monotonic()):
            self._line(line, shown=not stderr.is_terminal)

    def end(self) -> None:
        """The command's work is done."""
        with self._lock:
            ended = self._tracker.end(time.monotonic())
        self._finish(ended)

    def tick(self) -> None:
        """Write the line that is due once a minute about the running stage."""
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line = now + SECONDS_BETWEEN_LINES
        state = self._tracker.state(now)
        if state is not None:
            self._line(running_line(state), shown=not stderr.is_terminal)

    def _finish(self, ended: StageState | None) -> None:
        if ended is not None:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            self._line(finished_line(ended), shown=True)

    def _line(self, line: str, *, shown: bool) -> None:
        if shown and not _is_quiet:
            stderr.print(escape(line), soft_wrap=True)
        if self._log is not None:
            self._log.write(line)

    def __rich__(self) -> RenderableType:
        """The running stage, and below it as many runs as fit on the terminal."""
        now = time.monotonic()
        state = self._tracker.state(now)
        line = f"preparing: {duration(now - self._began)}" if state is None else running_line(state)
        text = Text(line, no_wrap=False)
        if self._family is None:
            return text
        return Group(text, run_table(self._family, stderr.size.height - LINES_AROUND_RUNS, stderr.size.width))


@contextmanager
def stage_progress(
    stages: Sequence[str] = (), store: Store | None = None, command: str = ""
) -> Iterator[StageProgress]:
    """Show the progress of the stages of a command while the block runs.

    Libraries' prints go to stderr as well: Ray reports a dead node on stdout, and stdout is for results.

    Args:
        stages: of the command, in order; others are shown without a number.
        store: that receives the command's log file; None: no log file is written.
        command: its name, for the name of the log file.
    """
    log = None if store is None else LogFile(store, command)
    shown = StageProgress(stages, log)
    is_live = stderr.is_terminal and not _is_quiet
    live = Live(get_renderable=lambda: shown, console=stderr, transient=True) if is_live else nullcontext()
    error: BaseException | None = None
    try:
        with redirect_stdout(sys.stderr), live, _ticking(shown):
            yield shown
            shown.end()
    except BaseException as caught:
        error = caught
        raise
    finally:
        if log is not None:
            log.close(error)


def spec_progress(spec: Spec, store: Store, job: Job) -> AbstractContextManager[StageProgress]:
    """Show the progress of a command on a spec, and write its log file."""
    return stage_progress(stages_of(spec, job), store, job)


@contextmanager
def _ticking(shown: StageProgress) -> Iterator[None]:
    done = threading.Event()

    def tick() -> None:
        while not done.wait(TICK_SECONDS):
            shown.tick()

    thread = threading.Thread(target=tick, name="mixproof-stages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
