"""Ladders: scores of a large run, predicted from runs of several sizes and token budgets."""
