"""Datasets: Megatron's `.bin/.idx` parts with provenance."""
