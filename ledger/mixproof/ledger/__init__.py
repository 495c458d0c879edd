"""What happened: fingerprints, the content-addressed store, accounts and manifests."""
