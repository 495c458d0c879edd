"""Proxies: draws and streams, training on Megatron Core, evaluation, comparison."""
