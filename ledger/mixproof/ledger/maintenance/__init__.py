"""What a store contains, whether it is intact, and what can be removed from it."""
