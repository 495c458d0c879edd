"""The arithmetic of mixtures: shares, budgets, epoch caps, rounding."""
