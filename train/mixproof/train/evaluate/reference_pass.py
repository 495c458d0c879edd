"""The reference pass: compute or check the reference log-probabilities of runs, before or without training them.

Runs of one checkpoint and the same data share artifacts, whatever their seed, beta or stage. Each artifact is handled
once: if the store has it, a sample of its documents is computed again and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mixproof.ledger.errors import AccountError
from mixproof.ledger.store import Store
from mixproof.tokenize.audit.report import AuditReport, Checks
from mixproof.tokenize.tokenizer.reference import load_reference
from mixproof.train.distributed import Ranks
from mixproof.train.request import RunRequest

from .heldout_parts import read_heldout
from .references import REFERENCE, Reference, References

Step = Callable[[], Reference]


def needs_references(request: RunRequest) -> bool:
    """Whether a run compares its answers with its starting checkpoint."""
    return request.post_training is not None and request.post_training.beta is not None


def compute_references(requests: Sequence[RunRequest], ranks: Ranks) -> None:
    """Compute the artifacts of runs that are not in the store yet.

    Raises:
        AccountError: when a stored artifact does not belong to the checkpoint or the data.
    """
    for _, compute in _steps(requests, ranks):
        compute()


def audit_references(requests: Sequence[RunRequest], ranks: Ranks) -> AuditReport:
    """Check the artifacts of finished runs: a sample of each is computed again by the starting checkpoint."""
    checks = Checks()
    for source, compute in _steps(requests, ranks):
        at = checks.at(source=source, stage=REFERENCE)
        try:
            found = compute()
        except AccountError as error:
            at.true("E10", False, "reference log-probabilities of this checkpoint and data", str(error))
        else:
            at.true("E10", found.reused, f"{found.path} in the store", "no such artifact; it was computed again")
    return checks.report("replay")


def _steps(requests: Sequence[RunRequest], ranks: Ranks) -> Iterator[tuple[str, Step]]:
    """Yield the source of each artifact, and a function that computes or checks it."""
    seen: set[object] = set()
    for request in requests:
        if not needs_references(request):
            continue
        store = Store(request.store)
        references = References(store, request, ranks)
        at = (request.init_from, request.proxy)
        for source, draw in request.draws.items():
            if (*at, source, draw.key) not in seen:
                seen.add((*at, source, draw.key))
                yield source, partial(references.of_draw, source)
        if (*at, request.build) not in seen:
            seen.add((*at, request.build))
            yield from _heldout_steps(store, request, references)


def _heldout_steps(store: Store, request: RunRequest, references: References) -> Iterator[tuple[str, Step]]:
    """Yield the held-out sets of pairs."""
    tokenizer, trained = request.tokenizer, request.post_training
    decode = load_reference(str(store.path(tokenizer.path))).decode
    for source, heldout in sorted(request.heldout.items()):
        if trained is not None and source not in (trained.answers_scored or ()):
            documents = read_heldout(store, source, heldout, tokenizer.eod_id, supervised_by=decode)
            yield source, partial(references.of_heldout, documents)
