"""A folder of text looked at: its files, fields and sizes by a sample, and a spec proposed for it."""
