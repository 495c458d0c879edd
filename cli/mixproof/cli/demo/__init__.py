"""Text for `mixproof demo`, from what every Python installation has."""
