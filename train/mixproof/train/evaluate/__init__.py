"""Evaluation: held-out sets, external evaluation sets and tasks."""
