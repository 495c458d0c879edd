"""Tokenizers: files, engines, training, and the reference implementation."""
