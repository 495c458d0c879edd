"""Embed a sample with a transformer encoder: by tasks, because one process would take hours.

Each task writes the vectors of some documents under a key made of the encoder and their text hashes, so a build that
is interrupted resumes with those that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixproof.ledger.fingerprint import stage_key
from mixproof.ledger.store import Store
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.stage import run_missing
from mixproof.pipeline.load_array import load_array

from .cluster_file import STAGE, VERSION
from .embed import VERSION as EMBED_VERSION
from .embed import embed
from .encoder_files import EncoderFiles

VECTORS = "vectors.npy"
DOCUMENTS = 128
"""Of one task."""


def sample_vectors(
    texts: Sequence[str], hashes: Sequence[str], files: EncoderFiles, chars: int, store: Store, cluster: Cluster
) -> NDArray[np.int16]:
    """Embed the texts of a sample, as far as the store does not have their vectors.

    Args:
        texts: of the sample.
        hashes: of the texts.
        files: the encoder.
        chars: characters at the start of a text that are looked at.
        store: where vectors are found and written.
        cluster: runs the tasks.

    Returns:
        int16 [texts, dimensions], as `embed` gives them.
    """
    config = {"vectors": files.sha256, "embed": EMBED_VERSION, "chars": chars}
    work = {
        stage_key(STAGE, VERSION, config, list(hashes[first : first + DOCUMENTS])): texts[first : first + DOCUMENTS]
        for first in range(0, len(texts), DOCUMENTS)
    }

    def calls(missing: Mapping[str, Sequence[str]]) -> list[tuple[object, ...]]:
        return [(store, key, [text[:chars] for text in part], files, chars) for key, part in missing.items()]

    run_missing(store, STAGE, work, calls, write_vectors, cluster, STAGE)
    return np.concatenate([load_array(store.path(f"{STAGE}/{key}/{VECTORS}")) for key in work])


def write_vectors(store: Store, key: str, texts: Sequence[str], files: EncoderFiles, chars: int) -> None:
    """Write the vectors of some texts (Ray task)."""
    with store.attempt(STAGE, key) as attempt:
        with attempt.path(VECTORS).open("wb") as out:
            np.save(out, embed(texts, files, chars), allow_pickle=False)
        attempt.commit()
