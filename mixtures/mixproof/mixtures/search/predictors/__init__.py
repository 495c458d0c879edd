"""Predictors of one score from the shares of a mixture."""
