"""Records of many shards, regrouped by range of their hashes in time that grows with their number."""
