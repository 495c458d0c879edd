"""The roof: one file a command."""
