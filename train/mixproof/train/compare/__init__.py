"""Comparison: which runs may be compared, and which mixture is better."""
