"""Audit of a run: check its record against the equations and against every file that it names."""
