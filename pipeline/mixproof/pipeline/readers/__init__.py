"""Readers: one file format each; they yield raw records and count what they reject."""
