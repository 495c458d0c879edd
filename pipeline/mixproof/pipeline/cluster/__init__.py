"""Cluster: start or join Ray, run stages as tasks, retry and collect them."""
