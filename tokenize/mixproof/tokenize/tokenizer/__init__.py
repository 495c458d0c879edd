"""Tokenizers: their files, references and engines, and how one is trained."""
