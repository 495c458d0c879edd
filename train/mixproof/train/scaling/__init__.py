"""Scaling laws fitted to finished runs, and the data-constrained law for repeated tokens."""
