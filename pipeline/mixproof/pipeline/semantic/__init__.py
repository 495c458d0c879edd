"""Semantic deduplication: documents that say nearly the same, by the cosine of their embeddings."""
