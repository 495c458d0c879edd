"""Whether the runs that a spec declares can make a ladder, checked before any of them is trained."""

from __future__ import annotations

from collections.abc import Sequence

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.key_positions import nearest
from mixproof.mixtures.spec import Spec
from mixproof.train.proxies import architecture_of, count_parameters
from mixproof.train.scaling.design import why_no_law


def check_ladder(spec: Spec) -> None:
    """Check that sizes and token budgets of the proxies identify a scaling law.

    Raises:
        RequestError: saying which sizes or budgets are missing.
    """
    proxies = spec.train.proxies
    sizes = [count_parameters(architecture_of(name, proxy), 0).non_embedding for name, proxy in proxies.items()]
    reason = why_no_law(sizes, [proxy.tokens for proxy in proxies.values()])
    if reason is not None:
        raise RequestError(
            f"{spec.where('train', 'proxies')}: {reason}. Nothing was trained. A list of budgets, such as "
            "`tokens: [20M, 40M, 80M]`, makes one proxy of each"
        )


def check_chains(chains: Sequence[str], scored: Sequence[str]) -> None:
    """Check that both halves of every `TASK=LOSS` begin with the name of something that is scored.

    Args:
        chains: as given on the command line.
        scored: sources, external sets and tasks. The metrics of tasks are known only after scoring.

    Raises:
        RequestError: naming the half.
    """
    for text in chains:
        for name in text.split("=", 1):
            if not any(name.startswith(f"{one}_") for one in scored):
                raise RequestError(
                    f"--chain {text}: {name!r} is not a score of the runs; scores are named after a source, an "
                    f"external set or a task, such as {scored[0]}_bpb; {nearest(name.rsplit('_', 1)[0], scored)}"
                )
