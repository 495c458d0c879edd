"""The third depth of an audit: raw files are read, filtered and encoded again."""
