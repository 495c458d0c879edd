"""What the searches that cut texts share: rewritten shards, their account, lists of what was cut."""
