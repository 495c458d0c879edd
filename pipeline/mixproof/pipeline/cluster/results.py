"""The result of a Ray task, or its error in words that name the stage and what to do."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, RuntimeEnvSetupError, WorkerCrashedError

from mixproof.ledger.errors import MixproofError, ProcessDiedError

from .resources import RayDiedError
from .running import dead_processes
from .same_code import different_code

FOLDER = "/tmp/ray on a cluster"  # noqa: S108  Ray's default, named in messages
RESUMES = "Finished work is kept: the same command resumes"


class SetupError(MixproofError):
    """A node could not prepare a worker for a task, as with a full disk below /tmp/ray; another node may."""


def result_of(reference: Any, label: str) -> Any:  # noqa: ANN401 - what the task returned, of the caller's type
    """Return the result of a finished task.

    Args:
        reference: Ray's reference to it (see `node_task.as_task`).
        label: of its stage.

    Raises:
        DifferentCodeError: when its node has other code than the command, and did not run it.
        ProcessDiedError: when its worker crashed, or was killed because memory was short.
        SetupError: when its node could not start a worker for it.
        RayDiedError: when Ray's own processes on this machine have died.
        MixproofError: what the task raised, or that Ray gave up on it.
    """
    try:
        has_run, result = ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, MixproofError):
            raise cause from None
        raise  # a bug in mixproof
    except (WorkerCrashedError, OutOfMemoryError) as error:
        raise_if_ray_died(label, error)
        raise ProcessDiedError(
            f"{label}: a worker crashed repeatedly ({type(error).__name__}), probably out of memory, even with a whole "
            "machine reserved for it; use machines with more memory or smaller input files, and see whether the disk "
            f"of Ray's folder is full ({FOLDER}). {RESUMES}"
        ) from error
    except RuntimeEnvSetupError as error:
        raise SetupError(
            f"{label}: a node could not start a worker ({reason(error)}); see whether the disk of Ray's folder is "
            f"full ({FOLDER}). {RESUMES}"
        ) from error
    except RayError as error:
        raise_if_ray_died(label, error)
        raise MixproofError(
            f"{label}: Ray gave up on a task ({type(error).__name__}: {reason(error)}). {RESUMES}"
        ) from error
    if not has_run:
        raise different_code(*result)
    return result


def raise_if_ray_died(label: str, cause: Exception | None = None) -> None:
    """Raise RayDiedError if Ray's own processes on this machine have died."""
    if dead := dead_processes():
        raise RayDiedError(f"{label}: Ray's {' and '.join(dead)} died") from cause


def reason(error: Exception) -> str:
    """Return an error of Ray on one line: of the traceback of one of its processes, the last line."""
    lines = [line.strip() for line in str(error).splitlines()]
    if not any(line.startswith('File "') for line in lines):
        return " ".join(filter(None, lines))
    return next((line for line in reversed(lines) if any(map(str.isalpha, line))), type(error).__name__)
