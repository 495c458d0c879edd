"""Scaling laws fitted to finished runs, and the law of repeated tokens."""
