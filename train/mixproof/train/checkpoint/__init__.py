"""Checkpoints: written, read, and imported from Megatron-LM and Hugging Face."""
