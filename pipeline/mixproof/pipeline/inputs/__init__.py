"""Inputs: the files that a source names, on any file system, and their formats."""
