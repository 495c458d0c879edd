"""Reading: files, shards, and the fused task that turns raw records into documents."""
