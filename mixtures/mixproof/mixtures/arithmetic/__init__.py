"""Arithmetic of mixtures: shares, budgets, caps, rounding."""
