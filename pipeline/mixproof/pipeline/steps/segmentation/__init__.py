"""Words and sentences of a text, as spaCy splits them, remembered."""
