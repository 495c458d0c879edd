"""Reference log-probabilities of a family of runs: computed once before runs that share them, checked by `audit`."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.resources import Needs
from mixproof.tokenize.audit.report import AuditReport, Checks
from mixproof.train.request import RunRequest

from .dispatch import Reason, reason_of


def prepare_references(requests: Sequence[RunRequest], cluster: Cluster) -> None:
    """Compute what several unfinished runs of a proxy share, one task a proxy; a single run computes its own.

    An error is not raised here: each run meets it and reports it.
    """
    by_proxy: dict[str, list[RunRequest]] = {}
    for request in requests:
        if request.post_training is not None and request.post_training.beta is not None:
            by_proxy.setdefault(request.proxy, []).append(request)
    shared = [members for members in by_proxy.values() if len(members) > 1]
    cluster.run(
        _reference_task,
        [([request.model_dump_json() for request in members],) for members in shared],
        label="reference",
        needs=[Needs(members[0].resources.cpus, members[0].resources.gpus) for members in shared],
        on_failure=reason_of,
    )


def replay_references(requests: Sequence[RunRequest]) -> AuditReport:
    """Compute a sample of the reference log-probabilities of finished runs again."""
    if not any(request.post_training is not None and request.post_training.beta is not None for request in requests):
        return Checks().report("replay")
    from mixproof.train.distributed import process_group  # imports torch, as the next one
    from mixproof.train.evaluate.reference_pass import audit_references

    with process_group("cpu") as ranks:
        return audit_references(requests, ranks)


def _reference_task(texts: list[str]) -> Reason:
    """Compute references in a worker."""
    import torch

    from mixproof.train.distributed import process_group
    from mixproof.train.evaluate.reference_pass import compute_references

    requests = [RunRequest.model_validate_json(text) for text in texts]
    if requests[0].device == "cpu":
        torch.set_num_threads(requests[0].resources.threads)
    with process_group(requests[0].device) as ranks:
        compute_references(requests, ranks)
    return None
