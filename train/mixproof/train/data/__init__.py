"""Data: draws, streams, blends, and what a run was delivered."""
