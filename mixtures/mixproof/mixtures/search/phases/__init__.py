"""Mixtures with a blend per phase of the run, from tables of results."""
