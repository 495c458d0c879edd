"""One law of mixture and size: scores of runs of several sizes, carried to a size that was not run."""
