"""Clusters: documents grouped by static token embeddings, with the same result on every machine."""
