"""The blocks of a spec as frozen models, one module per top-level key or group of keys."""
