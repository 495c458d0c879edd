"""The datasets of a build, part by part: tokens, provenance, masks, held-out sets, and ids that are encoded again."""
