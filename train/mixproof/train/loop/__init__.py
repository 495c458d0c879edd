"""The training loop: one run from its start or its last checkpoint to its record."""
