"""Deduplication of repeated substrings."""
