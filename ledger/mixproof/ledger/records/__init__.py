"""The records of which a manifest consists."""
