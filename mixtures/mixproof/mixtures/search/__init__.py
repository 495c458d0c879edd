"""The search: candidates, predictors, the mixture that they recommend, and when they must not recommend one.

Pure arithmetic over shares and scores; lower scores are better. Nothing here trains, reads a store or starts Ray:
`rounds.py` gets the scores of its candidates through a function that it is given.
"""
