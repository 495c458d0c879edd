"""Exact and fuzzy deduplication of documents."""
