"""What is wanted: the spec, its arithmetic, the shipped specs."""
