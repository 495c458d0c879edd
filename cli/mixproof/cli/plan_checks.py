"""Checks of a plan that rest on estimates.

Before a build the tokens of a source are estimated from its files' sizes, and the estimate has an error margin. A cap
that is exceeded even with the most tokens that files of this size plausibly hold is an error, as it is after a build.
A cap that is exceeded only by the estimate itself is a warning. So is a held-out set that `min_documents` would
enlarge, judged by the mean size of the first documents; steps and deduplication are not considered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixproof.mixtures.arithmetic.budget import RunBudget, budget_run
from mixproof.mixtures.arithmetic.caps import Use, check_caps, uses_of
from mixproof.mixtures.blocks.search import Search
from mixproof.mixtures.errors import SpecError
from mixproof.mixtures.search.setup.supply import runs_of, smallest_phase
from mixproof.mixtures.spec import Spec
from mixproof.mixtures.split_sources import SplitSource
from mixproof.pipeline.heldout.heldout_size import HeldoutSize, heldout_size
from mixproof.pipeline.inputs.files import InputFile
from mixproof.tokenize.estimate import BYTES_PER_TOKEN, Estimate

from .request import UPPER_BOUND, Request
from .survey.document_size import mean_document_bytes


def check_estimated_caps(spec: Spec, estimates: Mapping[str, Estimate], vocab_size: int) -> None:
    """Refuse caps that are exceeded even with the most tokens that the files plausibly hold.

    Raises:
        SpecError: as after a build, with a note that the tokens are an estimate.
    """
    most = {name: found.tokens_plausible(vocab_size) for name, found in estimates.items()}
    try:
        budgets = {(m, p): budget_run(spec, m, p, most) for m in spec.mixtures for p in spec.train.proxies}
        check_caps(spec, budgets, most)
    except SpecError as error:
        error.add_note(
            "there is no build yet: the tokens of each source are an upper estimate from the sizes of its files"
        )
        raise


def check_searched_supply(request: Request, declared: Search, proxy: str, built: Mapping[str, int] | None) -> None:
    """Refuse fixed shares and a trunk that the sources cannot supply, and rungs that are too short.

    Before a build the parts of split sources are not known, so a spec that has some is checked after it.

    Args:
        request: of the spec.
        declared: the search, with the options of the command.
        proxy: that it trains.
        built: training tokens of every source; None before a build, when files give an upper bound.

    Raises:
        SpecError: naming the key.
    """
    spec = request.spec
    if not (declared.fixed or declared.phase or declared.race):
        return
    if declared.race is not None:
        smallest_phase(spec, proxy, declared.race.rungs)
    if built is not None:
        runs_of(spec, proxy, built, declared)
    elif not any(isinstance(source, SplitSource) for source in spec.sources.values()):
        try:
            runs_of(spec, proxy, {name: found.tokens_at_most for name, found in request.estimates.items()}, declared)
        except SpecError as error:
            error.add_note(UPPER_BOUND)
            raise


def uses_above_caps(
    spec: Spec, budgets: Mapping[tuple[str, str], RunBudget], tokens_of: Mapping[str, int]
) -> tuple[Use, ...]:
    """What exceeds a cap by the estimate itself, once for each mixture, run and source."""
    uses = (use for pair, budget in budgets.items() for use in uses_of(spec, *pair, budget, tokens_of))
    return tuple(dict.fromkeys(use for use in uses if use.exceeded))


def cap_warning(use: Use) -> str:
    """The warning about one cap that may be exceeded."""
    run = "the target run" if use.run == "target" else f"proxy {use.run}"
    return (
        f"{use.mixture}: {run} would see {use.source} for about {float(use.epochs):.3g} epochs, above its cap of "
        f"{float(use.max_epochs):.3g}; tokens are estimated, and a build decides"
    )


def growing_heldout(
    spec: Spec, files: Mapping[str, Sequence[InputFile]], estimates: Mapping[str, Estimate]
) -> tuple[HeldoutSize, ...]:
    """The held-out sets that would become much larger than requested, because `min_documents` are that long."""
    requested = spec.heldout.create
    if requested is None:
        return ()
    documents, sizes = max(1, requested.min_documents), []
    for name, source in spec.sources.items():
        mean = mean_document_bytes(source, files[name])
        if mean is None:
            continue
        source_bytes = estimates[name].tokens * BYTES_PER_TOKEN
        size = min(int(documents * mean), source_bytes)
        tokens = size // BYTES_PER_TOKEN
        sizes.append(
            heldout_size(name, requested, documents=documents, tokens=tokens, size=size, source_bytes=source_bytes)
        )
    return tuple(size for size in sizes if size.has_grown)


def heldout_warning(size: HeldoutSize) -> str:
    """The warning about one held-out set that may grow."""
    return f"held out of {size}; sizes are estimated from the first documents, and a build decides"
