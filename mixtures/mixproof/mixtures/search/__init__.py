"""The search for a better mixture: candidates, predictors, the recommended mixture, and when to recommend none.

Pure arithmetic over shares and scores; lower scores are better. Nothing here trains, reads a store or starts Ray:
`rounds.py` gets the scores of candidates from a function passed by the caller.
"""
