"""What a stage on pairs or ratings needs to know of each training document, besides its tokens.

Columns, by stage: dpo, the log-probability by the starting checkpoint; rpo, that and the rating.
"""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.train.request import RunRequest

from .references import References

Values = dict[str, NDArray[np.float64]]
"""By source: [documents, values]."""


def example_values(store: Store, request: RunRequest, references: References) -> Values:
    """Collect the values of every source of a run; none for stages that need none.

    Raises:
        RequestError: when a rating is missing that the stage needs.
        AccountError: when stored reference log-probabilities do not belong to the data.
    """
    trained = request.post_training
    if trained is None or trained.beta is None:
        return {}
    values: Values = {}
    for source in request.draws:
        columns = [references.of_draw(source).log_probability]
        if trained.rpo is not None:
            columns.append(_ratings(store, request, source))
        values[source] = np.stack(columns, axis=1)
    return values


def _ratings(store: Store, request: RunRequest, source: str) -> NDArray[np.float64]:
    """Return [documents] the rating of each answer."""
    path = store.path(request.draws[source].provenance)
    rows = pq.read_table(path)
    ratings = rows["rating"] if "rating" in rows.column_names else None
    missing = rows.num_rows if ratings is None else ratings.null_count
    if ratings is None or missing:
        raise RequestError(
            f"source {source}: {missing} of {rows.num_rows} answers have no rating, and stage rpo needs the ratings of "
            "both answers of every pair; use stage dpo, or remove the pairs without ratings"
        )
    found: NDArray[np.float64] = ratings.to_numpy().astype(np.float64)
    return found
