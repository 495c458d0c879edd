"""Words, letters and word n-grams as 64-bit hashes."""
