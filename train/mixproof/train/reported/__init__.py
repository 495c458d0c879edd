"""Runs that were not made here: tables of results, which no audit can check."""
