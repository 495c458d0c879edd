"""What a spec lets a search try: the space of its candidates, their runs, and whether the search can succeed at all."""
