"""Results as tables for a terminal, and in their JSON forms."""
