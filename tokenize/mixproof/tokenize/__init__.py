"""Tokens: tokenizers, Megatron datasets with provenance, the build and its audit."""
