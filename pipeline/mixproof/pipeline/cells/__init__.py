"""Cells: the documents of a source, divided by their labels into sources of their own."""
