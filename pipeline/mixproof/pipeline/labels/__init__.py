"""Labels: values that are added to documents, in files beside their shards."""
