"""Lists of the records and documents that a source lost."""
