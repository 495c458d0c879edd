"""Formatters: steps that change a text."""
