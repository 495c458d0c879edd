"""Clusters: documents grouped by static token embeddings, exactly and on every machine alike."""
