"""No classifier is trained on a held-out text: checked once the held-out sets are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mixproof.ledger.errors import RequestError
from mixproof.ledger.records.classifiers import ClassifierRecord
from mixproof.ledger.store import Store
from mixproof.pipeline.columns import read_whole
from mixproof.pipeline.heldout.heldout_set import HeldoutSet


def check_examples(classifiers: Mapping[str, ClassifierRecord], heldout: Iterable[HeldoutSet], store: Store) -> None:
    """Refuse held-out sets that reach beyond the share that classifiers leave for them.

    Raises:
        RequestError: naming the classifier and the source.
    """
    sets = list(heldout)
    for name, record in classifiers.items():
        trained = set(read_whole(store.path(record.examples), ["text_xxh128"])["text_xxh128"].to_pylist())
        for each in sets:
            shared = sum(text in trained for text in each.hashes)
            if shared:
                raise RequestError(
                    f"labels.{name}: the classifier was trained on {shared} of the {each.documents} held-out texts of "
                    f"source {each.source}, because the set needs more documents than the classifier leaves for it; "
                    "raise `reserve` of the classifier, or lower heldout.create.tokens or heldout.create.min_documents"
                )
