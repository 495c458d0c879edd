"""What a stage on pairs or ratings needs to know of each training document, besides its tokens.

Columns, by stage: dpo, the log-probability by the starting checkpoint; rpo, that and the rating; reward on pairs, the
margin; reward on ratings, the attributes (0 where absent) and then, for each, 1 if it is present.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixproof.ledger.errors import RequestError
from mixproof.ledger.store import Store
from mixproof.train.request import RunRequest
from mixproof.train.stage_record import RewardRecord

from .references import References, drawn_documents

Values = dict[str, NDArray[np.float64]]
"""By source: [documents, values]."""


def example_values(store: Store, request: RunRequest, references: References) -> Values:
    """Collect the values of every source of a run; none for stages that need none.

    Raises:
        RequestError: when a rating is missing that the stage needs.
        AccountError: when stored reference log-probabilities do not belong to the data.
    """
    trained = request.post_training
    if trained is not None and trained.reward is not None:
        return {source: _reward_values(store, request, source, trained.reward) for source in request.draws}
    if trained is None or trained.beta is None:
        return {}
    values: Values = {}
    for source in request.draws:
        columns = [references.of_draw(source).log_probability]
        if trained.rpo is not None:
            columns.append(_ratings(store, request, source))
        values[source] = np.stack(columns, axis=1)
    return values


def _reward_values(store: Store, request: RunRequest, source: str, reward: RewardRecord) -> NDArray[np.float64]:
    """Return [documents, values] margins, or attributes and their presence."""
    prefix = store.folder(request.draws[source].prefix)
    rows = pq.read_table(prefix.with_name(f"{prefix.name}.parquet"))
    documents = replace(drawn_documents(source, prefix), ratings=rows)
    if reward.loss == "bradley_terry":
        return documents.margins[:, None]
    rated = documents.attributes(reward.attributes)
    present = np.isfinite(rated)
    return np.concatenate([np.where(present, rated, 0.0), present.astype(np.float64)], axis=1)


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
