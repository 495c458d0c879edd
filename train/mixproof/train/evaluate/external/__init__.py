"""Evaluation sets and tasks that a spec names beside the held-out sets of its build."""
