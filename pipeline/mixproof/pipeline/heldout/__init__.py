"""Held-out sets, and decontamination of training documents against them and against evaluation files."""
