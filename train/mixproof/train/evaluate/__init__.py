"""Evaluation: held-out sets, external texts and tasks."""
