"""Held-out sets and decontamination."""
