"""Audit of a run: its record against its equations and the bytes it names."""
