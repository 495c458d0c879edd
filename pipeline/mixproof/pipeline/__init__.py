"""Documents: files, readers, steps, deduplication, held-out sets, as Ray tasks over shards."""
