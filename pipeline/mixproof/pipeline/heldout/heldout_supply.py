"""Whether the sources are large enough for their held-out sets, as far as it is known before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixproof.ledger.errors import RequestError
from mixproof.mixtures.blocks.heldout import HeldoutCreate
from mixproof.mixtures.spec import Spec
from mixproof.pipeline.inputs.files import InputFile
from mixproof.pipeline.inputs.record_counts import most_records


def check_heldout_supply(
    spec: Spec, files: Mapping[str, Sequence[InputFile]], tokens_at_most: Mapping[str, int]
) -> None:
    """Refuse held-out sets that no text of the files can provide.

    Args:
        spec: as written, with split sources whole.
        files: by source.
        tokens_at_most: by source, the most tokens that its files plausibly hold.

    Raises:
        RequestError: when a source has no more records than its held-out set needs documents, or fewer tokens.
    """
    if spec.heldout.from_ is not None:
        return
    requested = spec.heldout.create or HeldoutCreate()
    least = max(1, requested.min_documents)
    for name, inputs in files.items():
        if spec.sources[name].megatron is not None:
            continue
        where = spec.where("sources", name)
        records = most_records(inputs, spec.limits)
        if records is not None and records <= least:
            raise RequestError(
                f"{where}: its files hold {records:,} records, and its held-out set needs at least {least:,} documents "
                f"beside those for training{_default(requested)}; lower heldout.create.min_documents, or add files to "
                "the source"
            )
        if requested.tokens is not None and requested.tokens >= tokens_at_most[name]:
            raise RequestError(
                f"{where}: its files hold about {tokens_at_most[name]:,} tokens at most, and heldout.create.tokens "
                f"requests {requested.tokens:,} of them for its held-out set; lower heldout.create.tokens, or add "
                "files to the source"
            )


def _default(requested: HeldoutCreate) -> str:
    return "" if "min_documents" in requested.model_fields_set else " (the default of heldout.create.min_documents)"
