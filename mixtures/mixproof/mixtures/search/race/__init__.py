"""Racing: which mixtures stop after a rung of the budget, among declared mixtures and in the rounds of a search."""
