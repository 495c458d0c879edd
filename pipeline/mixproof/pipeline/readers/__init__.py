"""Readers: one per file format; they yield documents and rejected records."""
