"""Tables of the runs' scores on external evaluation sets and tasks, for `train`, `run` and `compare`."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.cli.output import stdout, table
from mixproof.train.evaluate.external.external import ExternalScores
from mixproof.train.outcome import RunOutcome

COLUMNS = ("run", "set or task", "bits per byte", "documents or questions", "accuracy")

ACCURACIES = {"accuracy": "", "soft_accuracy": "soft "}


def print_external(outcomes: Sequence[RunOutcome], external: Sequence[ExternalScores]) -> None:
    """Print a line for each run and each set or task; nothing when there are none."""
    name_of = {run.key: f"{run.mixture} × {run.proxy} × seed {run.seed}" for run in outcomes}
    rows = []
    for scores in external:
        for name, row in scores.sets.items():
            lossy = "" if row["lossless"] else " (lossy)"
            rows.append((name_of[scores.run], name, f"{row['bits_per_byte']:.4f}{lossy}", f"{row['documents']:,}", ""))
        for name, row in scores.tasks.items():
            shown = [f"{label}{row[key]:.3f}" for key, label in ACCURACIES.items() if key in row]
            bits = f"{row['bits_per_byte']:.4f} of the correct answers"
            rows.append((name_of[scores.run], name, bits, f"{row['questions']:,}", ", ".join(shown)))
    if rows:
        stdout.print(table("External evaluation sets and tasks", COLUMNS, sorted(rows)))
