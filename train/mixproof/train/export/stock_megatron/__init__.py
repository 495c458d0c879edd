"""A mixture for stock Megatron-LM: data files, flags, and what will differ."""
