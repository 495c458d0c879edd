"""Deduplication of paragraphs."""
