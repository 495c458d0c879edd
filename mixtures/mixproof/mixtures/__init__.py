"""What is declared: the spec, its arithmetic and the shipped specs."""
