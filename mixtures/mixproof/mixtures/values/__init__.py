"""Exact values of a spec: quantities, bounded whole numbers, names."""
