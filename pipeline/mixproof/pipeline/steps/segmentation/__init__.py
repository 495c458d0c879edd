"""Words and sentences of a text, as spaCy splits them, with a memo."""
