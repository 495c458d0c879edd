"""Names of clusters: the words that tell a cluster from the others.

A word's weight in a cluster is p log(p / q), with p the share of the cluster's documents that have it and q the share
of all documents: a term of the Kullback-Leibler divergence.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

WORDS = 8
"""Words that describe a cluster."""
NAMED_BY = 3
"""Of these, the first ones of plain letters make its name."""
MOST_CHARS = 20
_WORD = re.compile(r"[^\W\d_]{3,}")
_PLAIN = re.compile(rf"[a-z]{{3,{MOST_CHARS}}}")


def telling_words(texts: Sequence[str], cluster_of: Sequence[int], clusters: int) -> list[list[str]]:
    """The most telling words of each cluster, in order.

    Args:
        texts: of a sample.
        cluster_of: the cluster of each.
        clusters: their number.
    """
    within = [Counter[str]() for _ in range(clusters)]
    overall: Counter[str] = Counter()
    documents = Counter(cluster_of)
    for text, cluster in zip(texts, cluster_of, strict=True):
        words = {word[:MOST_CHARS] for word in _WORD.findall(text.lower())}
        within[cluster].update(words)
        overall.update(words)
    found = []
    for cluster, counts in enumerate(within):
        weights = {
            word: round(share * math.log(share * len(texts) / overall[word]), 9)
            for word, count in counts.items()
            if (share := count / documents[cluster])
        }
        found.append(sorted(weights, key=lambda word: (-weights[word], word))[:WORDS])
    return found


def cluster_name(number: int, clusters: int, words: Sequence[str]) -> str:
    """A name such as `c01-law-section-act`; `number` counts from 0."""
    plain = [word for word in words if _PLAIN.fullmatch(word)][:NAMED_BY]
    return "-".join([f"c{number + 1:0{max(2, len(str(clusters)))}d}", *plain])
